#include "textflag.h"

// Registers:
//
//	SI lanes, CX blocks of the longest lane, DX the block at hand, BX 1 in the outer hash
//	Z0-Z15  the message schedule's last sixteen words W, of all lanes
//	Z16-Z20 a to e
//	Z21     K
//	Z22, Z23, Z31 scratch
//	Z24-Z28 the state before the block
//	Z29-Z30 where each lane's block lies
//	K1      lanes that have this block

// Offsets in type lanes.
#define AT    0
#define WHOLE 128
#define TOTAL 192
#define INNER 256
#define OUTER 576
#define TAILS 896

DATA swap<>+0(SB)/8, $0x0405060700010203
DATA swap<>+8(SB)/8, $0x0c0d0e0f08090a0b
DATA swap<>+16(SB)/8, $0x0405060700010203
DATA swap<>+24(SB)/8, $0x0c0d0e0f08090a0b
DATA swap<>+32(SB)/8, $0x0405060700010203
DATA swap<>+40(SB)/8, $0x0c0d0e0f08090a0b
DATA swap<>+48(SB)/8, $0x0405060700010203
DATA swap<>+56(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap<>(SB), RODATA|NOPTR, $64

// Where the tails of lanes 0 to 7 begin; those of 8 to 15 lie 1024 bytes behind.
DATA tails<>+0(SB)/8, $0
DATA tails<>+8(SB)/8, $128
DATA tails<>+16(SB)/8, $256
DATA tails<>+24(SB)/8, $384
DATA tails<>+32(SB)/8, $512
DATA tails<>+40(SB)/8, $640
DATA tails<>+48(SB)/8, $768
DATA tails<>+56(SB)/8, $896
GLOBL tails<>(SB), RODATA|NOPTR, $64

// K of FIPS 180-4 §4.2.1, the byte 0x80 behind the outer message, its length in bits (a key block and a digest), a block, and half of the tails.
DATA consts<>+0(SB)/4, $0x5a827999
DATA consts<>+4(SB)/4, $0x6ed9eba1
DATA consts<>+8(SB)/4, $0x8f1bbcdc
DATA consts<>+12(SB)/4, $0xca62c1d6
DATA consts<>+16(SB)/4, $0x80000000
DATA consts<>+20(SB)/4, $672
DATA consts<>+24(SB)/8, $64
DATA consts<>+32(SB)/8, $1024
GLOBL consts<>(SB), RODATA|NOPTR, $40

// load has the block of one lane in z, its words as numbers.
#define load(lane, z) \
	MOVQ      (AT+8*lane)(SI), R8    \
	VMOVDQU64 (R8), z                \
	VPSHUFB   swap<>(SB), z, z

// words has four lanes in its registers: words 0, 4, 8, 12 of them all go to the first one, 1, 5, 9, 13 to the second one, and so on.
#define words(a, b, c, d) \
	VPUNPCKLDQ  b, a, Z16     \
	VPUNPCKHDQ  b, a, Z17     \
	VPUNPCKLDQ  d, c, Z18     \
	VPUNPCKHDQ  d, c, Z19     \
	VPUNPCKLQDQ Z18, Z16, a   \
	VPUNPCKHQDQ Z18, Z16, b   \
	VPUNPCKLQDQ Z19, Z17, c   \
	VPUNPCKHQDQ Z19, Z17, d

// quarters has what words made of the four groups of lanes: the first quarters of them all go to the first register, and so on.
#define quarters(a, b, c, d) \
	VSHUFI32X4 $0x88, b, a, Z16     \
	VSHUFI32X4 $0xdd, b, a, Z17     \
	VSHUFI32X4 $0x88, d, c, Z18     \
	VSHUFI32X4 $0xdd, d, c, Z19     \
	VSHUFI32X4 $0x88, Z18, Z16, a   \
	VSHUFI32X4 $0x88, Z19, Z17, b   \
	VSHUFI32X4 $0xdd, Z18, Z16, c   \
	VSHUFI32X4 $0xdd, Z19, Z17, d

// The functions f of FIPS 180-4 §4.1.1, as tables for VPTERNLOGD.
#define CH     $0xca
#define PARITY $0x96
#define MAJ    $0xe8

// round is one of FIPS 180-4 §6.1.2, step 3: what is e is the next a. What depends on the round before comes last.
#define round(f, a, b, c, d, e, w) \
	VMOVDQA64  b, Z22          \
	VPTERNLOGD f, d, c, Z22    \
	VPADDD     Z21, e, e       \
	VPADDD     w, e, e         \
	VPROLD     $5, a, Z23      \
	VPADDD     Z22, e, e       \
	VPROLD     $30, b, b       \
	VPADDD     Z23, e, e

// later is a round for which the schedule must be extended: w is W of sixteen rounds ago, then those of 14, 8 and 3.
#define later(f, a, b, c, d, e, w, w14, w8, w3) \
	VPTERNLOGD PARITY, w14, w8, w     \
	VPXORD     w3, w, w               \
	VPROLD     $1, w, w               \
	round(f, a, b, c, d, e, w)

#define later5(f, w0, w1, w2, w3, w4, w5, w6, w8, w9, w10, w11, w12, w13, w14, w15) \
	later(f, Z16, Z17, Z18, Z19, Z20, w0, w2, w8, w13)    \
	later(f, Z20, Z16, Z17, Z18, Z19, w1, w3, w9, w14)    \
	later(f, Z19, Z20, Z16, Z17, Z18, w2, w4, w10, w15)   \
	later(f, Z18, Z19, Z20, Z16, Z17, w3, w5, w11, w0)    \
	later(f, Z17, Z18, Z19, Z20, Z16, w4, w6, w12, w1)

// func sum(l *lanes, n int)
TEXT ·sum(SB), NOSPLIT, $0-16
	MOVQ         l+0(FP), SI
	MOVQ         n+8(FP), CX
	XORL         DX, DX
	XORL         BX, BX
	VMOVDQU64    (INNER+0*64)(SI), Z24
	VMOVDQU64    (INNER+1*64)(SI), Z25
	VMOVDQU64    (INNER+2*64)(SI), Z26
	VMOVDQU64    (INNER+3*64)(SI), Z27
	VMOVDQU64    (INNER+4*64)(SI), Z28
	VMOVDQU64    (AT+0)(SI), Z29
	VMOVDQU64    (AT+64)(SI), Z30
	VPXORD       Z22, Z22, Z22

block:
	// Z22 is DX in all lanes. A lane whose whole blocks are done goes on with its tail.
	LEAQ         TAILS(SI), AX
	VPBROADCASTQ AX, Z31
	VPADDQ       tails<>(SB), Z31, Z31
	VPCMPUD      $0, WHOLE(SI), Z22, K2
	VMOVDQA64    Z31, K2, Z29
	VPADDQ.BCST  consts<>+32(SB), Z31, Z31
	KSHIFTRW     $8, K2, K2
	VMOVDQA64    Z31, K2, Z30
	VMOVDQU64    Z29, (AT+0)(SI)
	VMOVDQU64    Z30, (AT+64)(SI)
	VPCMPUD      $1, TOTAL(SI), Z22, K1
	load(0, Z0)
	load(1, Z1)
	load(2, Z2)
	load(3, Z3)
	words(Z0, Z1, Z2, Z3)
	load(4, Z4)
	load(5, Z5)
	load(6, Z6)
	load(7, Z7)
	words(Z4, Z5, Z6, Z7)
	load(8, Z8)
	load(9, Z9)
	load(10, Z10)
	load(11, Z11)
	words(Z8, Z9, Z10, Z11)
	load(12, Z12)
	load(13, Z13)
	load(14, Z14)
	load(15, Z15)
	words(Z12, Z13, Z14, Z15)
	quarters(Z0, Z4, Z8, Z12)
	quarters(Z1, Z5, Z9, Z13)
	quarters(Z2, Z6, Z10, Z14)
	quarters(Z3, Z7, Z11, Z15)

rounds:
	VMOVDQA64    Z24, Z16
	VMOVDQA64    Z25, Z17
	VMOVDQA64    Z26, Z18
	VMOVDQA64    Z27, Z19
	VMOVDQA64    Z28, Z20
	VPBROADCASTD consts<>+0(SB), Z21
	round(CH, Z16, Z17, Z18, Z19, Z20, Z0)
	round(CH, Z20, Z16, Z17, Z18, Z19, Z1)
	round(CH, Z19, Z20, Z16, Z17, Z18, Z2)
	round(CH, Z18, Z19, Z20, Z16, Z17, Z3)
	round(CH, Z17, Z18, Z19, Z20, Z16, Z4)
	round(CH, Z16, Z17, Z18, Z19, Z20, Z5)
	round(CH, Z20, Z16, Z17, Z18, Z19, Z6)
	round(CH, Z19, Z20, Z16, Z17, Z18, Z7)
	round(CH, Z18, Z19, Z20, Z16, Z17, Z8)
	round(CH, Z17, Z18, Z19, Z20, Z16, Z9)
	round(CH, Z16, Z17, Z18, Z19, Z20, Z10)
	round(CH, Z20, Z16, Z17, Z18, Z19, Z11)
	round(CH, Z19, Z20, Z16, Z17, Z18, Z12)
	round(CH, Z18, Z19, Z20, Z16, Z17, Z13)
	round(CH, Z17, Z18, Z19, Z20, Z16, Z14)
	round(CH, Z16, Z17, Z18, Z19, Z20, Z15)
	later(CH, Z20, Z16, Z17, Z18, Z19, Z0, Z2, Z8, Z13)
	later(CH, Z19, Z20, Z16, Z17, Z18, Z1, Z3, Z9, Z14)
	later(CH, Z18, Z19, Z20, Z16, Z17, Z2, Z4, Z10, Z15)
	later(CH, Z17, Z18, Z19, Z20, Z16, Z3, Z5, Z11, Z0)
	VPBROADCASTD consts<>+4(SB), Z21
	later5(PARITY, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z12, Z13, Z14, Z15, Z0, Z1, Z2, Z3)
	later5(PARITY, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8)
	later5(PARITY, Z14, Z15, Z0, Z1, Z2, Z3, Z4, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13)
	later5(PARITY, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z11, Z12, Z13, Z14, Z15, Z0, Z1, Z2)
	VPBROADCASTD consts<>+8(SB), Z21
	later5(MAJ, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
	later5(MAJ, Z13, Z14, Z15, Z0, Z1, Z2, Z3, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12)
	later5(MAJ, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z10, Z11, Z12, Z13, Z14, Z15, Z0, Z1)
	later5(MAJ, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z15, Z0, Z1, Z2, Z3, Z4, Z5, Z6)
	VPBROADCASTD consts<>+12(SB), Z21
	later5(PARITY, Z12, Z13, Z14, Z15, Z0, Z1, Z2, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11)
	later5(PARITY, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z0)
	later5(PARITY, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z14, Z15, Z0, Z1, Z2, Z3, Z4, Z5)
	later5(PARITY, Z11, Z12, Z13, Z14, Z15, Z0, Z1, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10)
	VPADDD       Z16, Z24, K1, Z24
	VPADDD       Z17, Z25, K1, Z25
	VPADDD       Z18, Z26, K1, Z26
	VPADDD       Z19, Z27, K1, Z27
	VPADDD       Z20, Z28, K1, Z28
	TESTL        BX, BX
	JNZ          done
	INCL         DX
	CMPQ         DX, CX
	JGE          outer

	// Lanes that have another block go on to it.
	VPBROADCASTD DX, Z22
	VPCMPUD      $1, TOTAL(SI), Z22, K1
	VPADDQ.BCST  consts<>+24(SB), Z29, K1, Z29
	KSHIFTRW     $8, K1, K1
	VPADDQ.BCST  consts<>+24(SB), Z30, K1, Z30
	JMP          block

outer:
	// The digests are the message of the outer hash.
	INCL         BX
	KXNORW       K1, K1, K1
	VMOVDQA64    Z24, Z0
	VMOVDQA64    Z25, Z1
	VMOVDQA64    Z26, Z2
	VMOVDQA64    Z27, Z3
	VMOVDQA64    Z28, Z4
	VPBROADCASTD consts<>+16(SB), Z5
	VPXORD       Z6, Z6, Z6
	VPXORD       Z7, Z7, Z7
	VPXORD       Z8, Z8, Z8
	VPXORD       Z9, Z9, Z9
	VPXORD       Z10, Z10, Z10
	VPXORD       Z11, Z11, Z11
	VPXORD       Z12, Z12, Z12
	VPXORD       Z13, Z13, Z13
	VPXORD       Z14, Z14, Z14
	VPBROADCASTD consts<>+20(SB), Z15
	VMOVDQU64    (OUTER+0*64)(SI), Z24
	VMOVDQU64    (OUTER+1*64)(SI), Z25
	VMOVDQU64    (OUTER+2*64)(SI), Z26
	VMOVDQU64    (OUTER+3*64)(SI), Z27
	VMOVDQU64    (OUTER+4*64)(SI), Z28
	JMP          rounds

done:
	VMOVDQU64    Z24, (OUTER+0*64)(SI)
	VMOVDQU64    Z25, (OUTER+1*64)(SI)
	VMOVDQU64    Z26, (OUTER+2*64)(SI)
	VMOVDQU64    Z27, (OUTER+3*64)(SI)
	VMOVDQU64    Z28, (OUTER+4*64)(SI)
	VZEROUPPER
	RET
