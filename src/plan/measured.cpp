#include "plan/measured.h"

namespace phaseconv {
namespace {

// Medians of `phaseconv bench` on an H100 (driver 580.159.04, NVRTC 13.0), 2026-11-27: what took at
// least 6% less time than the plan that the cost model takes, in two runs of both, or in one run
// where either is of phase_stream, col2im_mma or col2im_wgmma, or has a box of sizes that are new,
// which all changed that day.
constexpr Measured kMeasured[] = {
    {"sm_90a", "ic128,oc128,g128,i32x32x32,k5,s2,p2,bias",
     "phase_fma:fused3,cells8,threads64,box1x32x32,groups1",
     "1.07x over phase_fma:fused3,cells8,threads32,box1x16x32,groups1"},
    {"sm_90a", "ic128,oc128,g128,i32x32x32,k5,s2,p2,bias,f16",
     "phase_fma:fused2,cells8,threads64,box1x32x32,groups1",
     "1.11x over phase_fma:fused3,cells8,threads32,box1x16x32,groups1"},
    {"sm_90a", "ic128,oc64,i32x32x32,k2,s2,bias,f16,cl",
     "phase_wgmma:cells64,threads128,box1x2x32,block64,columns128,groups1,inputs128,buffers1,"
     "resident1",
     "1.08x over "
     "phase_wgmma:cells64,threads512,box1x2x32,block64,columns64,groups1,inputs128,buffers1,"
     "resident1"},
    {"sm_90a", "ic128,oc64,i32x32x32,k2,s2,bias,tf32,cl",
     "phase_wgmma:cells64,threads512,box2x2x16,block32,columns64,groups1,inputs128,buffers1,"
     "resident1",
     "1.15x over "
     "phase_stream:cells64,threads384,box4x1x32,block32,columns256,groups1,inputs32,buffers2,"
     "slots4,resident1"},
    {"sm_90a", "ic1536,oc768,i860,k16,s8,p4,bias,f16",
     "phase_wgmma:cells64,threads256,box1x1x64,block16,columns64,groups1,inputs64,buffers2,"
     "resident2",
     "1.55x over "
     "phase_stream:cells64,threads512,box1x1x128,block32,columns256,groups1,inputs64,buffers2,"
     "slots8,resident1"},
    {"sm_90a", "ic24,oc24,i240x240,k2,s2,bias,cl",
     "phase_stream:cells64,threads512,box1x1x128,block24,columns96,groups1,inputs32,buffers2,"
     "slots2,resident1",
     "1.08x over "
     "phase_wgmma:cells64,threads512,box1x1x240,block24,columns96,groups1,inputs24,buffers1,"
     "resident1"},
    {"sm_90a", "ic24,oc24,i240x240,k2,s2,bias,f16",
     "phase_stream:cells128,threads512,box1x1x240,block24,columns96,groups1,inputs32,buffers2,"
     "slots2,resident1",
     "1.21x over "
     "phase_mma:cells16,threads256,box1x2x240,block16,columns64,groups1,inputs24,buffers1,"
     "resident2"},
    {"sm_90a", "ic24,oc24,i240x240,k2,s2,bias,f16,cl",
     "phase_stream:cells128,threads512,box1x1x240,block24,columns96,groups1,inputs32,buffers2,"
     "slots2,resident1",
     "1.08x over "
     "phase_wgmma:cells64,threads512,box1x2x240,block24,columns96,groups1,inputs24,buffers1,"
     "resident1"},
    {"sm_90a", "ic256,oc128,i16x16x16,k2,s2,bias,f16,cl",
     "phase_wgmma:cells64,threads512,box4x1x16,block32,columns64,groups1,inputs256,buffers1,"
     "resident1",
     "1.43x over col2im_wgmma:cells32,threads128,box2x8x16,block8,columns64,inputs64,buffers2,"
     "resident2"},
    {"sm_90a", "ic256,oc256,i80x80,k2,s2,bias,f16,cl",
     "phase_stream:cells64,threads384,box1x1x80,block64,columns256,groups1,inputs64,buffers2,"
     "slots8,resident1",
     "1.12x over "
     "phase_wgmma:cells64,threads512,box1x2x32,block64,columns64,groups1,inputs256,buffers1,"
     "resident1"},
    {"sm_90a", "ic320,oc256,i8x8x8,k2,s2,bias,cl",
     "phase_wgmma:cells64,threads256,box8x1x8,block16,columns64,groups1,inputs64,buffers1,"
     "resident1",
     "1.26x over "
     "phase_stream:words1,cells64,threads384,box8x1x8,block16,columns128,groups1,inputs32,"
     "buffers3,slots10,resident1"},
    {"sm_90a", "ic320,oc256,i8x8x8,k2,s2,cl",
     "phase_wgmma:cells64,threads256,box8x1x8,block16,columns64,groups1,inputs64,buffers1,"
     "resident1",
     "1.26x over "
     "phase_stream:words1,cells64,threads384,box8x1x8,block16,columns128,groups1,inputs32,"
     "buffers3,slots10,resident1"},
    {"sm_90a", "ic56,oc1,i256x256,k9,s3,p4,op2,bias,tf32,cl",
     "col2im_wgmma:cells32,threads128,box3x1x86,block1,columns40,inputs32,buffers2,resident2",
     "1.24x over col2im_mma:cells32,threads96,box3x1x86,block1,columns40,inputs56,buffers2,"
     "resident2"},
    {"sm_90a", "ic64,oc32,i48x48x48,k3,s2,p1,op1,tf32,cl",
     "phase_stream:words1,cells64,threads384,box2x2x24,lead1x1x1,block32,columns256,groups1,"
     "inputs16,buffers3,slots4,resident1",
     "1.06x over "
     "phase_stream:words1,cells64,threads512,box2x2x24,lead1x1x1,block32,columns256,groups1,"
     "inputs16,buffers3,slots4,resident1"},
    {"sm_90a", "ic64,oc32,i64x64x64,k2,s2,bias,cl",
     "phase_wgmma:cells64,threads256,box1x1x64,block32,columns128,groups1,inputs64,buffers1,"
     "resident1",
     "1.26x over "
     "phase_wgmma:cells64,threads512,box1x1x64,block32,columns64,groups1,inputs64,buffers1,"
     "resident1"},
    {"sm_90a", "ic64,oc32,i64x64x64,k2,s2,bias,f16",
     "phase_mma:cells32,threads128,box1x2x64,block16,columns64,groups1,inputs64,buffers1,resident3",
     "1.07x over "
     "phase_stream:cells64,threads384,box1x2x64,block32,columns256,groups1,inputs64,buffers2,"
     "slots2,resident1"},
    {"sm_90a", "ic64,oc32,i64x64x64,k2,s2,bias,tf32,cl",
     "phase_wgmma:cells64,threads512,box1x2x64,block32,columns64,groups1,inputs64,buffers1,"
     "resident1",
     "1.23x over "
     "phase_stream:cells64,threads512,box1x2x64,block32,columns256,groups1,inputs32,buffers2,"
     "slots4,resident1"},
    {"sm_90a", "ic64,oc32,i64x64x64,k2,s2,cl",
     "phase_wgmma:cells64,threads256,box1x1x64,block32,columns128,groups1,inputs64,buffers1,"
     "resident1",
     "1.26x over "
     "phase_wgmma:cells64,threads512,box1x1x64,block32,columns64,groups1,inputs64,buffers1,"
     "resident1"},
    {"sm_90a", "ic64,oc32,i64x64x64,k2,s2,tf32,cl",
     "phase_wgmma:cells64,threads512,box1x2x64,block32,columns64,groups1,inputs64,buffers1,"
     "resident1",
     "1.26x over "
     "phase_stream:cells64,threads512,box1x2x64,block32,columns256,groups1,inputs32,buffers2,"
     "slots4,resident1"},
    {"sm_90a", "ic64,oc32,i80x80x80,k1x2x2,s1x2x2,bias",
     "phase_stream:words1,cells64,threads512,box1x2x80,block16,columns64,groups1,inputs32,"
     "buffers3,slots2,resident1",
     "1.06x over "
     "phase_stream:words1,cells64,threads512,box1x1x80,block32,columns128,groups1,inputs32,"
     "buffers3,slots4,resident1"},
    {"sm_90a", "ic64,oc32,i80x80x80,k1x2x2,s1x2x2,bias,f16",
     "phase_stream:cells128,threads512,box1x2x80,block32,columns128,groups1,inputs64,buffers2,"
     "slots2,resident1",
     "1.12x over "
     "phase_mma:cells32,threads160,box1x2x80,block32,columns64,groups1,inputs64,buffers1,"
     "resident2"},
    {"sm_90a", "ic64,oc32,i80x80x80,k1x2x2,s1x2x2,bias,f16,cl",
     "phase_mma:cells32,threads128,box2x2x16,block32,columns64,groups1,inputs64,buffers2,resident3",
     "1.11x over "
     "phase_stream:cells64,threads256,box2x2x16,block32,columns128,groups1,inputs64,buffers2,"
     "slots2,resident2"},
    {"sm_90a", "ic64,oc32,i80x80x80,k1x2x2,s1x2x2,bias,tf32,cl",
     "phase_wgmma:cells64,threads256,box2x2x16,block32,columns64,groups1,inputs64,buffers1,"
     "resident2",
     "1.45x over "
     "phase_stream:cells64,threads256,box2x2x16,block32,columns128,groups1,inputs32,buffers2,"
     "slots2,resident2"},
    {"sm_90a", "ic64,oc64,g64,i48x48x48,k4,s2,p1",
     "phase_fma:fused3,cells16,threads160,box1x48x48,groups1",
     "1.20x over phase_fma:fused3,cells8,threads96,box1x16x48,groups1"},
    {"sm_90a", "ic64,oc64,g64,i48x48x48,k4,s2,p1,cl",
     "phase_fma:fused2,oc2,cells4,threads128,box1x1x16,groups64",
     "1.15x over phase_fma:fused3,cells8,threads64,box1x1x8,groups64"},
    {"sm_90a", "ic64,oc64,g64,i48x48x48,k4,s2,p1,f16",
     "phase_fma:fused3,cells16,threads160,box2x48x48,groups1",
     "1.44x over phase_fma:fused3,cells8,threads96,box1x16x48,groups1"},
    {"sm_90a", "ic64,oc64,g64,i64x64x64,k3,s2,p1,bias,f16",
     "phase_fma:fused3,cells16,threads64,box1x16x64,groups1",
     "1.13x over phase_fma:fused3,cells16,threads256,box1x64x64,groups1"},
    {"sm_90a", "n100,ic256,oc256,i14x14,k2,s2,bias",
     "phase_stream:cells64,threads512,box1x8x14,block32,columns128,groups1,inputs32,buffers2,"
     "slots5,resident1",
     "1.09x over "
     "phase_stream:cells64,threads512,box1x7x14,block32,columns128,groups1,inputs32,buffers2,"
     "slots6,resident1"},
    {"sm_90a", "n100,ic256,oc256,i14x14,k2,s2,bias,cl",
     "phase_stream:words1,cells64,threads384,box1x7x14,block32,columns128,groups1,inputs32,"
     "buffers3,slots8,resident1",
     "1.17x over "
     "phase_stream:words1,cells64,threads512,box1x7x14,block32,columns128,groups1,inputs32,"
     "buffers3,slots8,resident1"},
    {"sm_90a", "n100,ic256,oc256,i14x14,k2,s2,bias,f16",
     "phase_stream:cells128,threads512,box1x14x14,block32,columns128,groups1,inputs64,buffers2,"
     "slots4,resident1",
     "1.45x over "
     "phase_stream:cells64,threads512,box1x8x14,block64,columns256,groups1,inputs64,buffers2,"
     "slots8,resident1"},
    {"sm_90a", "n100,ic256,oc256,i14x14,k2,s2,bias,f16,cl",
     "phase_stream:cells64,threads384,box1x8x14,block64,columns256,groups1,inputs64,buffers2,"
     "slots8,resident1",
     "1.25x over "
     "phase_wgmma:cells64,threads512,box1x4x14,block64,columns64,groups1,inputs256,buffers1,"
     "resident1"},
    {"sm_90a", "n100,ic256,oc256,i14x14,k2,s2,bias,tf32",
     "phase_stream:cells64,threads512,box1x8x14,block64,columns256,groups1,inputs32,buffers2,"
     "slots3,resident1",
     "1.06x over "
     "phase_stream:cells64,threads512,box1x7x14,block64,columns256,groups1,inputs32,buffers2,"
     "slots4,resident1"},
    {"sm_90a", "n100,ic256,oc256,i14x14,k2,s2,bias,tf32,cl",
     "phase_stream:words1,cells64,threads384,box1x7x14,block64,columns256,groups1,inputs32,"
     "buffers3,slots5,resident1",
     "1.14x over "
     "phase_stream:words1,cells64,threads512,box1x7x14,block64,columns256,groups1,inputs32,"
     "buffers3,slots5,resident1"},
    {"sm_90a", "n128,ic3,oc16,i16x32x32,k3,s2,p1",
     "phase_stream:words1,cells64,threads384,box1x4x32,lead1x1x1,block16,columns128,groups1,"
     "inputs8,buffers2,slots3,resident1",
     "1.10x over "
     "phase_stream:words1,cells64,threads512,box1x4x32,lead1x1x1,block16,columns128,groups1,"
     "inputs8,buffers3,slots3,resident1"},
    {"sm_90a", "n128,ic3,oc16,i16x32x32,k3,s2,p1,cl",
     "phase_mma:cells64,threads128,box2x1x32,lead1x1x1,block16,columns32,groups1,inputs3,"
     "buffers1,resident3",
     "1.14x over "
     "phase_stream:words1,cells64,threads512,box2x2x32,lead1x1x1,block16,columns128,groups1,"
     "inputs8,buffers3,slots3,resident1"},
    {"sm_90a", "n128,ic3,oc16,i16x32x32,k3,s2,p1,f16,cl",
     "phase_mma:cells16,threads256,box2x4x32,lead1x1x1,block16,columns64,groups1,inputs3,buffers1,"
     "resident2",
     "1.08x over "
     "phase_stream:cells128,threads512,box2x4x32,lead1x1x1,block16,columns128,groups1,inputs16,"
     "buffers2,slots2,resident1"},
    {"sm_90a", "n16,ic32,oc16,i16x32x64,k3x5x7,f16,cl",
     "phase_stream:cells128,threads512,box1x3x70,block16,columns16,groups1,inputs16,buffers2,"
     "slots7,resident1",
     "1.15x over "
     "phase_stream:cells128,threads768,box2x3x70,block16,columns16,groups1,inputs16,buffers2,"
     "slots4,resident1"},
    {"sm_90a", "n16,ic32,oc16,i16x32x64,k3x5x7,tf32",
     "phase_wgmma:cells64,threads384,box1x2x70,block16,columns16,groups1,inputs8,buffers1,"
     "resident1",
     "1.21x over "
     "phase_stream:cells64,threads640,box1x2x70,block16,columns16,groups1,inputs8,buffers2,slots3,"
     "resident1"},
    {"sm_90a", "n16,ic32,oc16,i16x32x64,k3x5x7,tf32,cl",
     "phase_stream:cells128,threads512,box1x3x70,block16,columns16,groups1,inputs8,buffers2,"
     "slots7,resident1",
     "1.08x over "
     "phase_stream:cells128,threads768,box2x3x70,block16,columns16,groups1,inputs8,buffers2,"
     "slots4,resident1"},
    {"sm_90a", "n16,ic32,oc64,i16x32x32,k3,s2,p1,d2,f16",
     "phase_stream:cells64,threads512,box1x3x33,lead1x1x1,block64,columns64,groups1,inputs16,"
     "buffers2,slots3,resident1",
     "1.14x over "
     "phase_stream:cells64,threads384,box1x3x33,lead1x1x1,block64,columns64,groups1,inputs16,"
     "buffers2,slots3,resident1"},
    {"sm_90a", "n16,ic32,oc64,i16x32x32,k3,s2,p1,d2,tf32",
     "phase_stream:words1,cells64,threads512,box2x2x33,lead1x1x1,block32,columns32,groups1,"
     "inputs8,buffers2,slots3,resident1",
     "1.07x over phase_stream:words1,cells64,threads512,box2x2x33,lead1x1x1,block32,columns32,"
     "groups1,inputs8,buffers3,slots2,resident1"},
    {"sm_90a", "n16,ic32,oc64,i64x64x64,k3x5x5,f16,cl",
     "phase_wgmma:cells128,threads384,box1x4x68,block64,columns64,groups1,inputs8,buffers1,"
     "resident1",
     "1.21x over "
     "phase_stream:cells128,threads256,box2x2x32,block64,columns64,groups1,inputs16,buffers2,"
     "slots2,resident2"},
    {"sm_90a", "n16,ic512,oc256,i4x4x4,k4,s2,p1",
     "phase_stream:cells64,threads384,box5x5x5,block16,columns128,groups1,inputs16,buffers2,"
     "slots7,resident1",
     "1.16x over phase_stream:cells64,threads512,box5x5x5,block16,columns128,groups1,inputs32,"
     "buffers2,slots2,resident1"},
    {"sm_90a", "n16,ic512,oc256,i4x4x4,k4,s2,p1,tf32",
     "phase_stream:cells64,threads384,box4x4x4,lead1x1x1,block32,columns256,groups1,inputs8,"
     "buffers2,slots8,resident1",
     "1.06x over phase_stream:cells64,threads512,box5x5x5,block32,columns256,groups1,inputs32,"
     "buffers2,slots4,resident1"},
    {"sm_90a", "n16,ic64,oc1,i32x32x32,k4,s2,p1",
     "col2im_wgmma:cells32,threads128,box11x3x32,lead0x0x1,block1,columns64,inputs32,"
     "buffers2,resident2",
     "1.08x over "
     "col2im_wgmma:cells16,threads256,box11x3x32,lead0x0x1,block1,columns64,inputs32,"
     "buffers2,resident2"},
    {"sm_90a", "n16,ic64,oc1,i32x32x32,k4,s2,p1,f16,cl",
     "col2im_wgmma:cells32,threads128,box17x3x32,lead0x0x1,block1,columns32,inputs64,buffers2,"
     "resident3",
     "1.11x over col2im_wgmma:cells32,threads384,box3x11x32,lead0x0x1,block1,columns32,inputs64,"
     "buffers2,resident1"},
    {"sm_90a", "n16,ic64,oc32,i128x128,k2,s2,bias,f16",
     "phase_stream:cells128,threads512,box1x2x128,block32,columns128,groups1,inputs32,buffers2,"
     "slots2,resident1",
     "1.06x over "
     "phase_mma:cells32,threads256,box1x1x128,block32,columns64,groups1,inputs64,buffers1,"
     "resident2"},
    {"sm_90a", "n16,ic64,oc32,i128x128,k2,s2,bias,f16,cl",
     "phase_mma:cells32,threads128,box1x1x64,block32,columns64,groups1,inputs64,buffers2,resident3",
     "1.08x over "
     "phase_stream:cells64,threads256,box1x1x64,block32,columns128,groups1,inputs64,buffers2,"
     "slots2,resident2"},
    {"sm_90a", "n4,ic32,oc2,i48x48x48,k3,s2,p1,op1,bias,f16",
     "col2im_mma:cells32,threads192,box12x3x48,lead1x1x1,block2,columns56,inputs32,buffers2,"
     "resident2",
     "1.19x over "
     "col2im_mma:cells32,threads448,box10x8x48,lead1x1x1,block2,columns56,inputs32,buffers2,"
     "resident1"},
    {"sm_90a", "n4,ic32,oc2,i48x48x48,k3,s2,p1,op1,bias,f16,cl",
     "col2im_wgmma:cells32,threads384,box12x6x48,lead1x1x1,block2,columns56,inputs32,buffers2,"
     "resident1",
     "1.09x over col2im_mma:cells32,threads448,box10x8x48,lead1x1x1,block2,columns56,inputs32,"
     "buffers2,resident1"},
    {"sm_90a", "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1,cl",
     "phase_mma:cells32,threads128,box2x1x16,lead1x1x1,block8,columns64,groups4,inputs8,buffers1,"
     "resident2",
     "1.20x over "
     "phase_mma:cells32,threads256,box2x2x32,lead1x1x1,block8,columns64,groups4,inputs8,buffers1,"
     "resident1"},
    {"sm_90a", "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1,f16,cl",
     "phase_mma:cells32,threads128,box2x1x16,lead1x1x1,block8,columns64,groups4,inputs8,buffers1,"
     "resident3",
     "1.09x over "
     "phase_wgmma:cells64,threads512,box2x1x128,lead1x1x1,block8,columns64,groups4,inputs8,"
     "buffers1,resident1"},
    {"sm_90a", "n4,ic32,oc32,i32x64x128,k3,s2,p1",
     "phase_stream:words1,cells64,threads512,box1x1x128,lead1x1x1,block16,columns128,groups1,"
     "inputs16,buffers2,slots5,resident1",
     "1.16x over "
     "phase_stream:words1,cells64,threads512,box2x1x64,lead1x1x1,block16,columns128,groups1,"
     "inputs16,buffers2,slots6,resident1"},
    {"sm_90a", "n4,ic32,oc32,i32x64x128,k3,s2,p1,f16,cl",
     "phase_stream:cells64,threads512,box1x2x64,lead1x1x1,block32,columns256,groups1,inputs32,"
     "buffers2,slots4,resident1",
     "1.28x over "
     "phase_stream:cells64,threads512,box2x2x32,lead1x1x1,block32,columns256,groups1,inputs32,"
     "buffers2,slots4,resident1"},
    {"sm_90a", "n4,ic32,oc32,i32x64x128,k3,s2,p1,tf32",
     "phase_stream:words1,cells64,threads512,box1x1x128,lead1x1x1,block32,columns256,groups1,"
     "inputs8,buffers2,slots4,resident1",
     "1.13x over phase_stream:words1,cells64,threads512,box1x1x128,lead1x1x1,block32,columns256,"
     "groups1,inputs8,buffers3,slots2,resident1"},
    {"sm_90a", "n4,ic48,oc48,i48x48x48,k2,s2,tf32",
     "phase_mma:cells16,threads192,box2x1x48,block8,columns64,groups1,inputs48,buffers1,"
     "resident3",
     "1.08x over "
     "phase_stream:words1,cells64,threads512,box1x2x48,block32,columns256,groups1,inputs16,"
     "buffers3,slots3,resident1"},
    {"sm_90a", "n4,ic64,oc16,i24x24x24,k3,s2,p1,op1,bias,f16,cl",
     "phase_stream:cells64,threads512,box2x3x24,lead1x1x1,block16,columns128,groups1,"
     "inputs64,buffers2,slots5,resident1",
     "1.24x over "
     "phase_stream:cells128,threads512,box3x3x24,lead1x1x1,block16,columns128,groups1,"
     "inputs64,buffers2,slots4,resident1"},
    {"sm_90a", "n4,ic64,oc16,i24x24x24,k3,s2,p1,op1,bias,tf32,cl",
     "phase_stream:words1,cells128,threads384,box3x3x24,lead1x1x1,block16,columns128,groups1,"
     "inputs16,buffers2,slots3,resident1",
     "1.10x over "
     "phase_stream:words1,cells128,threads512,box3x3x24,lead1x1x1,block16,columns128,groups1,"
     "inputs16,buffers2,slots3,resident1"},
    {"sm_90a", "n4,ic96,oc48,i24x24x24,k2,s2,cl",
     "phase_stream:cells64,threads384,box4x1x24,block16,columns128,groups1,inputs32,buffers2,"
     "slots6,resident1",
     "1.26x over col2im_mma:cells32,threads256,box12x3x24,block8,inputs32,buffers2,resident1"},
    {"sm_90a", "n4,ic96,oc48,i24x24x24,k2,s2,tf32",
     "phase_stream:words1,cells64,threads512,box1x8x24,block16,columns128,groups1,inputs32,"
     "buffers3,slots3,resident1",
     "1.25x over "
     "phase_stream:words1,cells64,threads512,box1x4x24,block32,columns256,groups1,inputs16,"
     "buffers3,slots6,resident1"},
    {"sm_90a", "n64,ic128,oc64,i16x16,k4,s2,p1,f16",
     "phase_stream:cells64,threads384,box1x4x16,lead0x1x1,block64,columns256,groups1,inputs32,"
     "buffers2,slots10,resident1",
     "1.07x over "
     "phase_stream:cells64,threads512,box1x8x16,lead0x1x1,block64,columns256,groups1,inputs64,"
     "buffers2,slots4,resident1"},
    {"sm_90a", "n64,ic256,oc128,i8x8x8,k4,s2,p1",
     "phase_wgmma:cells64,threads384,box2x9x9,block8,columns64,groups1,inputs16,buffers1,resident1",
     "1.36x over "
     "phase_stream:cells64,threads512,box1x9x9,block16,columns128,groups1,inputs32,buffers2,slots3,"
     "resident1"},
    {"sm_90a", "n64,ic256,oc128,i8x8x8,k4,s2,p1,f16,cl",
     "phase_stream:cells64,threads512,box8x2x8,lead1x1x1,block32,columns256,groups1,inputs16,"
     "buffers2,slots8,resident1",
     "1.25x over "
     "phase_stream:cells64,threads384,box4x4x8,lead1x1x1,block32,columns256,groups1,inputs64,"
     "buffers2,slots4,resident1"},
    {"sm_90a", "n64,ic256,oc128,i8x8x8,k4,s2,p1,tf32",
     "phase_stream:cells64,threads512,box4x4x8,lead1x1x1,block32,columns256,groups1,inputs8,"
     "buffers2,slots3,resident1",
     "1.18x over "
     "phase_stream:words1,cells64,threads512,box4x4x8,lead1x1x1,block32,columns256,groups1,inputs8,"
     "buffers2,slots3,resident1"},
    {"sm_90a", "n64,ic64,oc1,i32x32x32,k4,s2,p1,cl",
     "col2im_wgmma:cells32,threads256,box17x7x32,lead0x0x1,block1,columns32,inputs64,buffers2,"
     "resident1",
     "1.11x over col2im_wgmma:cells32,threads128,box11x3x32,lead0x0x1,block1,columns64,inputs32,"
     "buffers2,resident2"},
    {"sm_90a", "n8,ic32,oc32,g4,i12x24x48,k3x5x7,s2,p1x2x3,op1",
     "phase_stream:cells64,threads512,box1x4x48,lead1x0x1,block8,columns64,groups1,inputs8,"
     "buffers2,slots4,resident1",
     "1.10x over "
     "phase_stream:words1,cells64,threads512,box1x4x48,lead1x0x1,block8,columns64,groups1,"
     "inputs8,buffers3,slots5,resident1"},
    {"sm_90a", "n8,ic32,oc32,g4,i12x24x48,k3x5x7,s2,p1x2x3,op1,f16",
     "phase_wgmma:cells64,threads256,box1x6x48,lead1x0x1,block8,columns64,groups1,inputs8,"
     "buffers1,resident2",
     "1.08x over "
     "phase_wgmma:cells64,threads512,box3x6x48,lead1x0x1,block8,columns64,groups1,inputs8,"
     "buffers1,resident1"},
    {"sm_90a", "n8,ic48,oc48,i64x64x64,k3,cl",
     "phase_stream:cells64,threads256,box2x2x16,block48,columns48,groups1,inputs8,buffers2,"
     "slots4,resident2",
     "1.15x over "
     "phase_stream:cells128,threads384,box3x1x66,block48,columns48,groups1,inputs8,buffers2,"
     "slots3,resident1"},
    {"sm_90a", "n8,ic48,oc48,i64x64x64,k3,f16",
     "phase_wgmma:cells256,threads384,box2x4x66,block48,columns48,groups1,inputs8,buffers1,"
     "resident1",
     "1.07x over "
     "phase_stream:cells128,threads512,box2x2x66,block48,columns48,groups1,inputs16,buffers2,"
     "slots4,resident1"},
};

}  // namespace

std::span<const Measured> measured_plans() { return kMeasured; }

}  // namespace phaseconv
