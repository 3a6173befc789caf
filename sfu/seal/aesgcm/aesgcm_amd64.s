#include "textflag.h"

// See doc.go for the way through. Registers, in all functions:
//
//	AX key, DI destination, SI source, CX bytes left, R8 rounds
//	Z0-Z3   AES states, then the ciphertext
//	Z4      counter blocks, each with its bytes reversed: lane i belongs to the i-th next block
//	X5      the encrypted first counter block, which masks the tag (E(J0) of SP 800-38D)
//	Z6      shuffle that reverses the bytes of each block
//	Z7      GHASH so far, to be added to the next group of blocks
//	Z8-Z10  product of the group, 256 bits in three parts: lowest, middle, highest
//	Z11-Z15 scratch
//	Z16-Z30 round keys, the last one always in Z30
//	Z31     the polynomial

// Offsets in type key.
#define POWERS 0
#define ONE    (19*16)
#define ROUND0 (23*16)
#define ROUNDS (38*16)

// power(e) is where the e-th power of H stands.
#define power(e) (POWERS+(20-e)*16)(AX)

// bulk is how many bytes must be left for another turn of the big loop: its 256, and 33 more, so that the group which takes up
// GHASH so far has four powers of H before the end.
#define bulk 288

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

// x^128 + x^127 + x^126 + x^121 + 1, bit-reflected, without its highest bit.
DATA poly<>+0(SB)/8, $0x0000000000000001
DATA poly<>+8(SB)/8, $0xc200000000000000
GLOBL poly<>(SB), RODATA|NOPTR, $16

DATA oneToFour<>+0(SB)/8, $1
DATA oneToFour<>+8(SB)/8, $0
DATA oneToFour<>+16(SB)/8, $2
DATA oneToFour<>+24(SB)/8, $0
DATA oneToFour<>+32(SB)/8, $3
DATA oneToFour<>+40(SB)/8, $0
DATA oneToFour<>+48(SB)/8, $4
DATA oneToFour<>+56(SB)/8, $0
GLOBL oneToFour<>(SB), RODATA|NOPTR, $64

DATA zeroToThree<>+0(SB)/8, $0
DATA zeroToThree<>+8(SB)/8, $0
DATA zeroToThree<>+16(SB)/8, $1
DATA zeroToThree<>+24(SB)/8, $0
DATA zeroToThree<>+32(SB)/8, $2
DATA zeroToThree<>+40(SB)/8, $0
DATA zeroToThree<>+48(SB)/8, $3
DATA zeroToThree<>+56(SB)/8, $0
GLOBL zeroToThree<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
DATA four<>+16(SB)/8, $4
DATA four<>+24(SB)/8, $0
DATA four<>+32(SB)/8, $4
DATA four<>+40(SB)/8, $0
DATA four<>+48(SB)/8, $4
DATA four<>+56(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $64

// loadKeys: what AX points to, into Z16-Z30.
#define loadKeys \
	MOVQ            ROUNDS(AX), R8           \
	VBROADCASTI32X4 reverse<>(SB), Z6        \
	VBROADCASTI32X4 (ROUND0+0*16)(AX), Z16   \
	VBROADCASTI32X4 (ROUND0+1*16)(AX), Z17   \
	VBROADCASTI32X4 (ROUND0+2*16)(AX), Z18   \
	VBROADCASTI32X4 (ROUND0+3*16)(AX), Z19   \
	VBROADCASTI32X4 (ROUND0+4*16)(AX), Z20   \
	VBROADCASTI32X4 (ROUND0+5*16)(AX), Z21   \
	VBROADCASTI32X4 (ROUND0+6*16)(AX), Z22   \
	VBROADCASTI32X4 (ROUND0+7*16)(AX), Z23   \
	VBROADCASTI32X4 (ROUND0+8*16)(AX), Z24   \
	VBROADCASTI32X4 (ROUND0+9*16)(AX), Z25   \
	VBROADCASTI32X4 (ROUND0+10*16)(AX), Z26  \
	VBROADCASTI32X4 (ROUND0+11*16)(AX), Z27  \
	VBROADCASTI32X4 (ROUND0+12*16)(AX), Z28  \
	VBROADCASTI32X4 (ROUND0+13*16)(AX), Z29  \
	VBROADCASTI32X4 (ROUND0+14*16)(AX), Z30

// round4 is one round for four states.
#define round4(key) \
	VAESENC key, Z0, Z0 \
	VAESENC key, Z1, Z1 \
	VAESENC key, Z2, Z2 \
	VAESENC key, Z3, Z3

// stream4 makes the next 256 bytes of key stream in Z0-Z3; last is a label of its own.
#define stream4(last) \
	VPSHUFB     Z6, Z4, Z0           \
	VPADDD      four<>(SB), Z4, Z4   \
	VPSHUFB     Z6, Z4, Z1           \
	VPADDD      four<>(SB), Z4, Z4   \
	VPSHUFB     Z6, Z4, Z2           \
	VPADDD      four<>(SB), Z4, Z4   \
	VPSHUFB     Z6, Z4, Z3           \
	VPADDD      four<>(SB), Z4, Z4   \
	VPXORQ      Z16, Z0, Z0          \
	VPXORQ      Z16, Z1, Z1          \
	VPXORQ      Z16, Z2, Z2          \
	VPXORQ      Z16, Z3, Z3          \
	round4(Z17)                      \
	round4(Z18)                      \
	round4(Z19)                      \
	round4(Z20)                      \
	round4(Z21)                      \
	round4(Z22)                      \
	round4(Z23)                      \
	round4(Z24)                      \
	round4(Z25)                      \
	CMPQ        R8, $14              \
	JNE         last                 \
	round4(Z26)                      \
	round4(Z27)                      \
	round4(Z28)                      \
	round4(Z29)                      \
last:                                \
	VAESENCLAST Z30, Z0, Z0          \
	VAESENCLAST Z30, Z1, Z1          \
	VAESENCLAST Z30, Z2, Z2          \
	VAESENCLAST Z30, Z3, Z3

// rounds1 encrypts the one state s (X, Y or Z, as the keys k0... are); last is a label of its own.
#define rounds1(s, k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, last) \
	VPXORQ      k0, s, s   \
	VAESENC     k1, s, s   \
	VAESENC     k2, s, s   \
	VAESENC     k3, s, s   \
	VAESENC     k4, s, s   \
	VAESENC     k5, s, s   \
	VAESENC     k6, s, s   \
	VAESENC     k7, s, s   \
	VAESENC     k8, s, s   \
	VAESENC     k9, s, s   \
	CMPQ        R8, $14    \
	JNE         last       \
	VAESENC     k10, s, s  \
	VAESENC     k11, s, s  \
	VAESENC     k12, s, s  \
	VAESENC     k13, s, s  \
last:                      \
	VAESENCLAST k14, s, s

#define encryptX5(last) rounds1(X5, X16, X17, X18, X19, X20, X21, X22, X23, X24, X25, X26, X27, X28, X29, X30, last)

// stream1 makes the next 64 bytes of key stream in Z0.
#define stream1(last) \
	VPSHUFB Z6, Z4, Z0         \
	VPADDD  four<>(SB), Z4, Z4 \
	rounds1(Z0, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, last)

// mask1 sets K1 to the bytes that are left of the next 64, and R12 to their number.
#define mask1(left) \
	MOVQ    $64, R12      \
	CMPQ    left, R12     \
	CMOVQLT left, R12     \
	MOVQ    $-1, R13      \
	BZHIQ   R12, R13, R13 \
	KMOVQ   R13, K1

// multiply begins a product: Z8-Z10 = a·b, by the four halves.
#define multiply(a, b) \
	VPCLMULQDQ $0x00, b, a, Z8   \
	VPCLMULQDQ $0x01, b, a, Z9   \
	VPCLMULQDQ $0x10, b, a, Z12  \
	VPCLMULQDQ $0x11, b, a, Z10  \
	VPXORQ     Z12, Z9, Z9

// multiplyAdd adds a·b to Z8-Z10.
#define multiplyAdd(a, b) \
	VPCLMULQDQ $0x00, b, a, Z11       \
	VPCLMULQDQ $0x01, b, a, Z12       \
	VPCLMULQDQ $0x10, b, a, Z13       \
	VPCLMULQDQ $0x11, b, a, Z14       \
	VPXORQ     Z11, Z8, Z8            \
	VPTERNLOGD $0x96, Z13, Z12, Z9    \
	VPXORQ     Z14, Z10, Z10

// reduce makes Z8-Z10 one element in Z10, lane by lane: the lowest 64 bits are made zero twice by adding a multiple of the polynomial.
#define reduce \
	VPCLMULQDQ $0x01, Z8, Z31, Z11   \
	VPSHUFD    $0x4e, Z8, Z8         \
	VPTERNLOGD $0x96, Z11, Z8, Z9    \
	VPCLMULQDQ $0x01, Z9, Z31, Z11   \
	VPSHUFD    $0x4e, Z9, Z9         \
	VPTERNLOGD $0x96, Z11, Z9, Z10

// fold adds the four lanes of Z10 up in X10 and clears the others.
#define fold \
	VEXTRACTI64X4 $1, Z10, Y11    \
	VPXOR         Y11, Y10, Y10   \
	VEXTRACTI128  $1, Y10, X11    \
	VPXOR         X11, X10, X10

// begin loads the arguments and keys, encrypts J0 into X5, and sets the counter for the first block behind it. DX is the
// additional data, R9 its length, R10 where the tag goes; last is a label of its own.
#define begin(last) \
	MOVQ            k+0(FP), AX               \
	MOVQ            dst+24(FP), DI            \
	MOVQ            src+32(FP), SI            \
	MOVQ            n+40(FP), CX              \
	MOVQ            aad+48(FP), DX            \
	MOVQ            an+56(FP), R9             \
	MOVQ            tag+64(FP), R10           \
	loadKeys                                  \
	VBROADCASTI32X4 poly<>(SB), Z31           \
	VMOVQ           j0_a+8(FP), X5            \
	VPINSRQ         $1, j0_b+16(FP), X5, X5   \
	VSHUFI64X2      $0, Z5, Z5, Z4            \
	VPSHUFB         Z6, Z4, Z4                \
	VPADDD          oneToFour<>(SB), Z4, Z4   \
	encryptX5(last)                           \
	VPXORQ          Z7, Z7, Z7

// authenticate puts GHASH of the additional data into lane 0 of Z7, and zero into the others. A group of n blocks is multiplied with the
// powers n to 1 of H, behind which the table has zeros. next and done are labels of its own.
#define authenticate(next, done) \
	TESTQ      R9, R9             \
	JZ         done               \
next:                             \
	mask1(R9)                     \
	VMOVDQU8.Z (DX), K1, Z15      \
	LEAQ       15(R12), R13       \
	ANDQ       $-16, R13          \
	LEAQ       (ONE+16)(AX), BX   \
	SUBQ       R13, BX            \
	VPSHUFB    Z6, Z15, Z15       \
	VPXORQ     Z7, Z15, Z15       \
	VMOVDQU64  (BX), Z14          \
	multiply(Z15, Z14)            \
	reduce                        \
	fold                          \
	VMOVDQA64  X10, X7            \
	ADDQ       R12, DX            \
	SUBQ       R12, R9            \
	JNZ        next               \
done:

// absorb4 takes the 256 bytes of ciphertext in Z0-Z3 into Z7. Lane by lane it is Horner's rule with the fourth powers of H: what lies four
// lanes apart is multiplied alike, and the lanes' own powers come with the last group. What depends on the turn before comes last.
#define absorb4 \
	VPSHUFB         Z6, Z1, Z1                \
	VPSHUFB         Z6, Z2, Z2                \
	VPSHUFB         Z6, Z3, Z3                \
	VPSHUFB         Z6, Z0, Z0                \
	VBROADCASTI32X4 power(12), Z15            \
	multiply(Z1, Z15)                         \
	VBROADCASTI32X4 power(8), Z15             \
	multiplyAdd(Z2, Z15)                      \
	VBROADCASTI32X4 power(4), Z15             \
	multiplyAdd(Z3, Z15)                      \
	VPXORQ          Z7, Z0, Z0                \
	VBROADCASTI32X4 power(16), Z15            \
	multiplyAdd(Z0, Z15)                      \
	reduce                                    \
	VMOVDQA64       Z10, Z7

// lengths begins the last product with the block of both lengths in bits, and points R11 to the powers of the next group: the number of
// blocks left and one. Without anything left GHASH so far is added to the block of lengths. some is a label of its own.
#define lengths(some) \
	MOVQ    n+40(FP), R11        \
	MOVQ    an+56(FP), R12       \
	SHLQ    $3, R11              \
	SHLQ    $3, R12              \
	VMOVQ   R11, X15             \
	VPINSRQ $1, R12, X15, X15    \
	TESTQ   CX, CX               \
	JNZ     some                 \
	VPXOR   X7, X15, X15         \
some:                            \
	VMOVDQU ONE(AX), X14         \
	multiply(Z15, Z14)           \
	LEAQ    15(CX), R13          \
	ANDQ    $-16, R13            \
	LEAQ    ONE(AX), R11         \
	SUBQ    R13, R11

// absorb1 takes the ciphertext in Z0, zero behind its end, into the last product.
#define absorb1 \
	VPSHUFB   Z6, Z0, Z0     \
	VPXORQ    Z7, Z0, Z0     \
	VPXORQ    X7, X7, X7     \
	VMOVDQU64 (R11), Z15     \
	multiplyAdd(Z0, Z15)     \
	ADDQ      $64, R11

// finish writes the tag.
#define finish \
	reduce                    \
	fold                      \
	VPSHUFB X6, X10, X10      \
	VPXOR   X5, X10, X10      \
	VMOVDQU X10, (R10)        \
	VZEROUPPER

// func seal(k *key, j0 block, dst, src unsafe.Pointer, n int, aad unsafe.Pointer, an int, tag unsafe.Pointer)
TEXT ·seal(SB), NOSPLIT, $0-72
	begin(first)
	authenticate(data, text)
	CMPQ CX, $bulk
	JLE  tail

big:
	stream4(whole)
	VPXORQ    (SI), Z0, Z0
	VPXORQ    64(SI), Z1, Z1
	VPXORQ    128(SI), Z2, Z2
	VPXORQ    192(SI), Z3, Z3
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	absorb4
	ADDQ      $256, SI
	ADDQ      $256, DI
	SUBQ      $256, CX
	CMPQ      CX, $bulk
	JG        big

tail:
	lengths(some)
	TESTQ CX, CX
	JZ    end

group:
	mask1(CX)
	stream1(one)
	VMOVDQU8.Z (SI), K1, Z1
	VPXORQ     Z1, Z0, Z0
	VMOVDQU8   Z0, K1, (DI)
	VMOVDQU8.Z Z0, K1, Z0
	absorb1
	ADDQ       R12, SI
	ADDQ       R12, DI
	SUBQ       R12, CX
	JNZ        group

end:
	finish
	RET

// func open(k *key, j0 block, dst, src unsafe.Pointer, n int, aad unsafe.Pointer, an int, tag unsafe.Pointer)
TEXT ·open(SB), NOSPLIT, $0-72
	begin(first)
	authenticate(data, text)
	CMPQ CX, $bulk
	JLE  tail

big:
	stream4(whole)
	VMOVDQU64 (SI), Z11
	VMOVDQU64 64(SI), Z12
	VMOVDQU64 128(SI), Z13
	VMOVDQU64 192(SI), Z14
	VPXORQ    Z11, Z0, Z0
	VPXORQ    Z12, Z1, Z1
	VPXORQ    Z13, Z2, Z2
	VPXORQ    Z14, Z3, Z3
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	VMOVDQA64 Z11, Z0
	VMOVDQA64 Z12, Z1
	VMOVDQA64 Z13, Z2
	VMOVDQA64 Z14, Z3
	absorb4
	ADDQ      $256, SI
	ADDQ      $256, DI
	SUBQ      $256, CX
	CMPQ      CX, $bulk
	JG        big

tail:
	lengths(some)
	TESTQ CX, CX
	JZ    end

group:
	mask1(CX)
	stream1(one)
	VMOVDQU8.Z (SI), K1, Z1
	VPXORQ     Z1, Z0, Z0
	VMOVDQU8   Z0, K1, (DI)
	VMOVDQA64  Z1, Z0
	absorb1
	ADDQ       R12, SI
	ADDQ       R12, DI
	SUBQ       R12, CX
	JNZ        group

end:
	finish
	RET

// func stream(k *key, iv block, dst, src unsafe.Pointer, n int)
TEXT ·stream(SB), NOSPLIT, $0-48
	MOVQ            k+0(FP), AX
	MOVQ            dst+24(FP), DI
	MOVQ            src+32(FP), SI
	MOVQ            n+40(FP), CX
	loadKeys
	VMOVQ           iv_a+8(FP), X4
	VPINSRQ         $1, iv_b+16(FP), X4, X4
	VSHUFI64X2      $0, Z4, Z4, Z4
	VPSHUFB         Z6, Z4, Z4
	VPADDD          zeroToThree<>(SB), Z4, Z4
	SUBQ            $256, CX
	JL              tail

big:
	stream4(whole)
	VPXORQ    (SI), Z0, Z0
	VPXORQ    64(SI), Z1, Z1
	VPXORQ    128(SI), Z2, Z2
	VPXORQ    192(SI), Z3, Z3
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	ADDQ      $256, SI
	ADDQ      $256, DI
	SUBQ      $256, CX
	JGE       big

tail:
	ADDQ $256, CX
	JZ   end

group:
	mask1(CX)
	stream1(one)
	VMOVDQU8.Z (SI), K1, Z1
	VPXORQ     Z1, Z0, Z0
	VMOVDQU8   Z0, K1, (DI)
	ADDQ       R12, SI
	ADDQ       R12, DI
	SUBQ       R12, CX
	JNZ        group

end:
	VZEROUPPER
	RET

// func subWord(x uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL            x+0(FP), AX
	VMOVD           AX, X0
	VPSHUFD         $0, X0, X0
	VAESKEYGENASSIST $0, X0, X0
	VMOVD           X0, AX
	MOVL            AX, ret+8(FP)
	RET
