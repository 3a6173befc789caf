package turnload

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"konzil/bench/tap"
)

// Counters of the program (counter.program), 64 bits each from the start of a CPU's place, and the note behind them: the time of CLOCK_MONOTONIC in ns,
// the direction, the client whose socket it came to, then the payload.
const (
	countDelivered = 8 * iota
	countPayload
	countForeign
	countDuplicate
	countOrder
	countUnnoted // samples that the ring had no room for
	noteAt

	noteHead  = 16
	placeSize = noteAt + noteHead + (maxPayload+7)&^7
)

// segmentsMost is the most packets of one message (UDP_MAX_SEGMENTS of the kernel).
const segmentsMost = 128

// Places of a stamp's fields (packet.go).
const (
	stampMagic, stampClient, stampNumber, stampLength = 0, 4, 8, 12
	channelHead                                       = 4 // of channel data (RFC 8656 §12.4)
)

// program is a socket filter that does for each packet what recorder.arrived does: whose it is, whether its number is the next one, how many
// came. Nothing of it goes into the socket but what is no load: answers to requests, and at the peer what has not the size of a packet. One in
// each goes to the ring whole, a power of two.
//
//	R6 the packet, R7 the place of this CPU, R8 bytes of TURN before the payload, R9 where in the packet the next datagram begins
func (k *counter) program(c *Config, each int32) asm.Instructions {
	const ( // places on the stack
		head   = -stampSize
		key    = head - 4   // of maps
		gso    = key - 4    // size of all datagrams but the last
		who    = gso - 4    // client of the socket + 1, 0 is the peer
		chosen = who - 4    // which of `each` is the sample
		index  = chosen - 8 // of the datagram in the run
		base   = index - 8  // of the direction in next
	)
	var p asm.Instructions
	add := func(i ...asm.Instruction) { p = append(p, i...) }
	stack := func(r asm.Register, at int32) { add(asm.Mov.Reg(r, asm.RFP), asm.Add.Imm(r, at)) }
	// look finds the value of a key that is on the stack, and goes on elsewhere where there is none.
	look := func(a *tap.Array, none string) {
		add(asm.LoadMapPtr(asm.R1, a.Map.FD()))
		stack(asm.R2, key)
		add(asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, none))
	}
	count := func(at int16, n int32) {
		add(asm.LoadMem(asm.R1, asm.R7, at, asm.DWord), asm.Add.Imm(asm.R1, n), asm.StoreMem(asm.R7, at, asm.R1, asm.DWord))
	}
	swapped := func(v uint32) int32 { return int32(bits.ReverseBytes32(v)) } // as a little-endian machine reads it

	// whose socket: by the destination port (RFC 768)
	add(asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Imm(asm.R2, 2))
	stack(asm.R3, key)
	add(asm.Mov.Imm(asm.R4, 2), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "pass"))
	add(asm.LoadMem(asm.R1, asm.RFP, key, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.RFP, key, asm.R1, asm.Word))
	look(k.ports, "pass")
	add(asm.LoadMem(asm.R1, asm.R0, 0, asm.Word), asm.StoreMem(asm.RFP, who, asm.R1, asm.Word))
	add(asm.Mov.Imm(asm.R8, 0), asm.StoreMem(asm.RFP, base, asm.R8, asm.DWord), asm.JEq.Imm(asm.R1, 0, "count"))
	add(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, 8))
	stack(asm.R3, key)
	add(asm.Mov.Imm(asm.R4, 1), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "pass"))
	add(asm.LoadMem(asm.R1, asm.RFP, key, asm.Byte), asm.RSh.Imm(asm.R1, 6), asm.JNE.Imm(asm.R1, 1, "pass")) // RFC 8656 §12
	add(asm.Mov.Imm(asm.R8, channelHead), asm.Mov.Imm(asm.R1, int32(c.Allocations)), asm.StoreMem(asm.RFP, base, asm.R1, asm.DWord))

	add(asm.FnGetSmpProcessorId.Call().WithSymbol("count"), asm.StoreMem(asm.RFP, key, asm.R0, asm.Word))
	look(k.places, "pass")
	add(asm.Mov.Reg(asm.R7, asm.R0))
	add(asm.FnGetPrandomU32.Call(), asm.And.Imm(asm.R0, each-1), asm.StoreMem(asm.RFP, chosen, asm.R0, asm.Word))
	add(asm.LoadMem(asm.R1, asm.R6, tap.SkbGSOSize, asm.Word), asm.JNE.Imm(asm.R1, 0, "cut"), asm.Mov.Imm(asm.R1, 0xffff))
	add(asm.StoreMem(asm.RFP, gso, asm.R1, asm.Word).WithSymbol("cut"))
	add(asm.Mov.Imm(asm.R9, 8), asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, index, asm.R1, asm.DWord))

	// each datagram: its size, without TURN's head
	add(asm.LoadMem(asm.R4, asm.R6, tap.SkbLen, asm.Word).WithSymbol("next"), asm.JGE.Reg(asm.R9, asm.R4, "drop"), asm.Sub.Reg(asm.R4, asm.R9))
	add(asm.LoadMem(asm.R1, asm.RFP, gso, asm.Word), asm.JLE.Reg(asm.R4, asm.R1, "size"), asm.Mov.Reg(asm.R4, asm.R1))
	add(asm.Sub.Reg(asm.R4, asm.R8).WithSymbol("size"), asm.JSLT.Imm(asm.R4, int32(c.Payload), "payload"), asm.JSGT.Imm(asm.R4, int32(c.Payload)+3, "payload"))
	add(asm.JNE.Imm(asm.R8, 0, "sized"), asm.JNE.Imm(asm.R4, int32(c.Payload), "payload")) // channel data may be padded
	add(asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("sized"), asm.Mov.Reg(asm.R2, asm.R9), asm.Add.Reg(asm.R2, asm.R8))
	stack(asm.R3, head)
	add(asm.Mov.Imm(asm.R4, stampSize), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "payload"))

	// its stamp: for whom
	add(asm.LoadMem(asm.R1, asm.RFP, head+stampMagic, asm.Word), asm.JNE.Imm32(asm.R1, swapped(magic), "payload"))
	add(asm.LoadMem(asm.R1, asm.RFP, head+stampLength, asm.Word), asm.JNE.Imm32(asm.R1, swapped(uint32(c.Payload)), "payload"))
	add(asm.LoadMem(asm.R1, asm.RFP, head+stampClient, asm.Word), asm.HostTo(asm.BE, asm.R1, asm.Word), asm.JGE.Imm(asm.R1, int32(c.Allocations), "payload"))
	add(asm.LoadMem(asm.R2, asm.RFP, who, asm.Word), asm.JEq.Imm(asm.R2, 0, "number"), asm.Mov.Reg(asm.R3, asm.R1), asm.Add.Imm(asm.R3, 1), asm.JNE.Reg(asm.R2, asm.R3, "foreign"))

	// its number: the next one, or what is wrong
	add(asm.LoadMem(asm.R2, asm.RFP, base, asm.DWord).WithSymbol("number"), asm.Add.Reg(asm.R1, asm.R2), asm.StoreMem(asm.RFP, key, asm.R1, asm.Word))
	look(k.next, "payload")
	add(asm.LoadMem(asm.R1, asm.RFP, head+stampNumber, asm.Word), asm.HostTo(asm.BE, asm.R1, asm.Word))
	add(asm.LoadMem(asm.R2, asm.R0, 0, asm.Word), asm.Mov.Reg(asm.R3, asm.R1), asm.Sub.Reg32(asm.R3, asm.R2))
	add(asm.JEq.Imm32(asm.R3, -1, "duplicate"), asm.JSLT.Imm32(asm.R3, 0, "order"))
	add(asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R0, 0, asm.R1, asm.Word))
	mark := len(p)
	count(countDelivered, 1)
	p[mark] = p[mark].WithSymbol("delivered")

	// is it the sample
	add(asm.LoadMem(asm.R1, asm.RFP, index, asm.DWord), asm.And.Imm(asm.R1, each-1), asm.LoadMem(asm.R2, asm.RFP, chosen, asm.Word), asm.JNE.Reg(asm.R1, asm.R2, "on"))
	add(asm.FnKtimeGetNs.Call(), asm.StoreMem(asm.R7, noteAt, asm.R0, asm.DWord), asm.StoreMem(asm.R7, noteAt+8, asm.R8, asm.Word))
	add(asm.LoadMem(asm.R1, asm.RFP, who, asm.Word), asm.StoreMem(asm.R7, noteAt+12, asm.R1, asm.Word))
	add(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.R9), asm.Add.Reg(asm.R2, asm.R8), asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Imm(asm.R3, noteAt+noteHead))
	add(asm.Mov.Imm(asm.R4, int32(c.Payload)), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "on"))
	add(asm.LoadMapPtr(asm.R1, k.ring.Map.FD()), asm.Mov.Reg(asm.R2, asm.R7), asm.Add.Imm(asm.R2, noteAt), asm.Mov.Imm(asm.R3, int32(noteHead+c.Payload)), asm.Mov.Imm(asm.R4, tap.RingNoWakeup))
	add(asm.FnRingbufOutput.Call(), asm.JEq.Imm(asm.R0, 0, "on"))
	count(countUnnoted, 1)

	// on to the next
	add(asm.LoadMem(asm.R1, asm.RFP, gso, asm.Word).WithSymbol("on"), asm.Add.Reg(asm.R9, asm.R1))
	add(asm.LoadMem(asm.R1, asm.RFP, index, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.RFP, index, asm.R1, asm.DWord), asm.JLT.Imm(asm.R1, segmentsMost, "next"))
	add(asm.Mov.Imm(asm.R0, 0).WithSymbol("drop"), asm.Return())
	for _, w := range []struct {
		name, then string
		at         int16
	}{{"payload", "on", countPayload}, {"foreign", "on", countForeign}, {"duplicate", "delivered", countDuplicate}, {"order", "delivered", countOrder}} {
		mark := len(p)
		count(w.at, 1)
		p[mark] = p[mark].WithSymbol(w.name)
		add(asm.Ja.Label(w.then))
	}
	add(asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), asm.Return())
	return p
}
