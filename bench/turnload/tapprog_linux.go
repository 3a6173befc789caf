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

// Places on the stack of the program.
const (
	atStamp  = -stampSize
	atKey    = atStamp - 4  // of maps
	atGSO    = atKey - 4    // size of all datagrams but the last
	atWho    = atGSO - 4    // client of the socket + 1, 0 is the peer
	atChosen = atWho - 4    // which of `each` is the sample
	atIndex  = atChosen - 8 // of the datagram in the run
	atBase   = atIndex - 8  // of the direction in next
)

// program is a socket filter that does for each packet what recorder.arrived does: whose it is, whether its number is the next one, how many
// came. Nothing of it goes into the socket but what is no load: answers to requests, and at the peer what has not the size of a packet. One in
// each goes to the ring whole, a power of two.
//
//	R6 the packet, R7 the place of this CPU, R8 bytes of TURN before the payload, R9 where in the packet the next datagram begins
func (k *counter) program(c *Config, each int32) asm.Instructions {
	p := &tap.Program{}
	p.Begin()
	k.whose(p, int32(c.Allocations))
	p.Label("count")
	p.OfCPU(k.places, atKey, "pass")
	p.Add(asm.FnGetPrandomU32.Call(), asm.And.Imm(asm.R0, each-1), asm.StoreMem(asm.RFP, atChosen, asm.R0, asm.Word))
	p.Add(asm.LoadMem(asm.R1, asm.R6, tap.SkbGSOSize, asm.Word), asm.JNE.Imm(asm.R1, 0, "cut"), asm.Mov.Imm(asm.R1, 0xffff))
	p.Label("cut")
	p.Add(asm.StoreMem(asm.RFP, atGSO, asm.R1, asm.Word))
	p.Add(asm.Mov.Imm(asm.R9, 8), asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, atIndex, asm.R1, asm.DWord))

	p.Label("next")
	checkSize(p, int32(c.Payload))
	checkStamp(p, c)
	k.checkNumber(p)
	p.Label("delivered")
	count(p, countDelivered)
	k.sample(p, c, each)

	p.Label("on") // to the next datagram
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atGSO, asm.Word), asm.Add.Reg(asm.R9, asm.R1))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atIndex, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.RFP, atIndex, asm.R1, asm.DWord), asm.JLT.Imm(asm.R1, segmentsMost, "next"))
	p.Label("drop")
	p.Return(0)
	for _, w := range []struct {
		name, then string
		at         int16
	}{{"payload", "on", countPayload}, {"foreign", "on", countForeign}, {"duplicate", "delivered", countDuplicate}, {"order", "delivered", countOrder}} {
		p.Label(w.name)
		count(p, w.at)
		p.Add(asm.Ja.Label(w.then))
	}
	p.Label("pass")
	p.Return(-1)
	return p.Instructions()
}

// count adds one to a counter.
func count(p *tap.Program, at int16) {
	p.Add(asm.LoadMem(asm.R1, asm.R7, at, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R7, at, asm.R1, asm.DWord))
}

// swapped is a number of the network's order as a little-endian machine reads it.
func swapped(v uint32) int32 { return int32(bits.ReverseBytes32(v)) }

// whose tells by the destination port (RFC 768) whose socket it is; a client's gets channel data (RFC 8656 §12), which is shorter by its head.
func (k *counter) whose(p *tap.Program, clients int32) {
	p.Packet(2, atKey, 2, "pass")
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atKey, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.RFP, atKey, asm.R1, asm.Word))
	p.Look(k.ports, atKey, "pass")
	p.Add(asm.LoadMem(asm.R1, asm.R0, 0, asm.Word), asm.StoreMem(asm.RFP, atWho, asm.R1, asm.Word))
	p.Add(asm.Mov.Imm(asm.R8, 0), asm.StoreMem(asm.RFP, atBase, asm.R8, asm.DWord), asm.JEq.Imm(asm.R1, 0, "count"))
	p.Packet(8, atKey, 1, "pass")
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atKey, asm.Byte), asm.RSh.Imm(asm.R1, 6), asm.JNE.Imm(asm.R1, 1, "pass"))
	p.Add(asm.Mov.Imm(asm.R8, channelHead), asm.Mov.Imm(asm.R1, clients), asm.StoreMem(asm.RFP, atBase, asm.R1, asm.DWord))
}

// checkSize looks at a datagram's size, without TURN's head. Channel data may be padded.
func checkSize(p *tap.Program, payload int32) {
	p.Add(asm.LoadMem(asm.R4, asm.R6, tap.SkbLen, asm.Word), asm.JGE.Reg(asm.R9, asm.R4, "drop"), asm.Sub.Reg(asm.R4, asm.R9))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atGSO, asm.Word), asm.JLE.Reg(asm.R4, asm.R1, "size"), asm.Mov.Reg(asm.R4, asm.R1))
	p.Label("size")
	p.Add(asm.Sub.Reg(asm.R4, asm.R8), asm.JSLT.Imm(asm.R4, payload, "payload"), asm.JSGT.Imm(asm.R4, payload+3, "payload"))
	p.Add(asm.JNE.Imm(asm.R8, 0, "sized"), asm.JNE.Imm(asm.R4, payload, "payload"))
	p.Label("sized")
}

// checkStamp reads a datagram's stamp: it must be one, and for whom it came to. R1 is then the client.
func checkStamp(p *tap.Program, c *Config) {
	p.Add(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.R9), asm.Add.Reg(asm.R2, asm.R8))
	p.Stack(asm.R3, atStamp)
	p.Add(asm.Mov.Imm(asm.R4, stampSize), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "payload"))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atStamp+stampMagic, asm.Word), asm.JNE.Imm32(asm.R1, swapped(magic), "payload"))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atStamp+stampLength, asm.Word), asm.JNE.Imm32(asm.R1, swapped(uint32(c.Payload)), "payload"))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atStamp+stampClient, asm.Word), asm.HostTo(asm.BE, asm.R1, asm.Word), asm.JGE.Imm(asm.R1, int32(c.Allocations), "payload"))
	p.Add(asm.LoadMem(asm.R2, asm.RFP, atWho, asm.Word), asm.JEq.Imm(asm.R2, 0, "number"), asm.Mov.Reg(asm.R3, asm.R1), asm.Add.Imm(asm.R3, 1), asm.JNE.Reg(asm.R2, asm.R3, "foreign"))
}

// checkNumber compares a datagram's number with the one that must come next of that client, or tells what is wrong with it.
func (k *counter) checkNumber(p *tap.Program) {
	p.Label("number")
	p.Add(asm.LoadMem(asm.R2, asm.RFP, atBase, asm.DWord), asm.Add.Reg(asm.R1, asm.R2), asm.StoreMem(asm.RFP, atKey, asm.R1, asm.Word))
	p.Look(k.next, atKey, "payload")
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atStamp+stampNumber, asm.Word), asm.HostTo(asm.BE, asm.R1, asm.Word))
	p.Add(asm.LoadMem(asm.R2, asm.R0, 0, asm.Word), asm.Mov.Reg(asm.R3, asm.R1), asm.Sub.Reg32(asm.R3, asm.R2))
	p.Add(asm.JEq.Imm32(asm.R3, -1, "duplicate"), asm.JSLT.Imm32(asm.R3, 0, "order"))
	p.Add(asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R0, 0, asm.R1, asm.Word))
}

// sample gives the datagram whose turn it is to the ring.
func (k *counter) sample(p *tap.Program, c *Config, each int32) {
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atIndex, asm.DWord), asm.And.Imm(asm.R1, each-1), asm.LoadMem(asm.R2, asm.RFP, atChosen, asm.Word), asm.JNE.Reg(asm.R1, asm.R2, "on"))
	p.Add(asm.FnKtimeGetNs.Call(), asm.StoreMem(asm.R7, noteAt, asm.R0, asm.DWord), asm.StoreMem(asm.R7, noteAt+8, asm.R8, asm.Word))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atWho, asm.Word), asm.StoreMem(asm.R7, noteAt+12, asm.R1, asm.Word))
	p.Add(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.R9), asm.Add.Reg(asm.R2, asm.R8), asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Imm(asm.R3, noteAt+noteHead))
	p.Add(asm.Mov.Imm(asm.R4, int32(c.Payload)), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "on"))
	p.Add(asm.LoadMapPtr(asm.R1, k.ring.Map.FD()), asm.Mov.Reg(asm.R2, asm.R7), asm.Add.Imm(asm.R2, noteAt), asm.Mov.Imm(asm.R3, int32(noteHead+c.Payload)), asm.Mov.Imm(asm.R4, tap.RingNoWakeup))
	p.Add(asm.FnRingbufOutput.Call(), asm.JEq.Imm(asm.R0, 0, "on"))
	count(p, countUnnoted)
}
