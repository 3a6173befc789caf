package rtc

import (
	"github.com/cilium/ebpf/asm"

	"konzil/bench/tap"
)

// What the tap's program (tap_linux.go) writes for each message: a header of recordHead bytes (time of CLOCK_MONOTONIC in ns, slot in network
// order), then an entry for each datagram of the message: its size and how much of it follows with entrySampled, two bytes each, then those
// bytes, filled up to a multiple of four.
const (
	recordHead = 16
	entryHead  = 4
	// tapHead is what is kept of a packet that nobody looks into: the RTP header and 24 bytes of extensions.
	tapHead = 40
	// tapWhole is the most that is kept of one that somebody does; longer ones do not come (maxPayload).
	tapWhole = 2000
	// entrySampled marks every 64th packet, by chance.
	entrySampled = 1 << 15
	// tapRuns is the most datagrams of one message (UDP_MAX_SEGMENTS of the kernel).
	tapRuns = 128
	// tapRoom is where a record is made, one for each CPU: a run of 64 KiB with its entries, tapFull of which may be used when an entry begins.
	tapRoom, tapFull = 1 << 17, 100_000
)

// Places on the stack of the program.
const (
	atFirst = -8  // first bytes of the packet
	atKey   = -12 // of maps
	atMask  = -24 // pointer to the payload types that are wanted whole
	atIndex = -32 // of the datagram in the run
)

// Places in the record that the reader does not look at. What is read from there is any number to the verifier; what is known to it of one
// turn of the loop makes the next one another that it has to look at.
const (
	inGSO    = 10 // size of all datagrams but the last
	inChosen = 12 // which of 64 is the sample
)

// program is a socket filter. It lets pass what belongs to ICE and DTLS. Of RTP and RTCP it notes the headers, of some packets all of it, and
// lets none into the socket. slotAt is where the 16 bits that name the transport stand, behind the UDP header's or (ip) the IP header's start.
//
//	R6 the packet, R7 the record, R8 how long that is, R9 where in the packet the next datagram begins
func (t *mediaTap) program(slotAt int32, ip bool) asm.Instructions {
	p := &tap.Program{}
	p.Begin()
	p.Packet(8, atFirst, 2, "pass")
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atFirst, asm.Byte)) // RFC 7983
	p.Add(asm.JLT.Imm(asm.R1, 128, "pass"), asm.JGT.Imm(asm.R1, 191, "pass"))
	p.OfCPU(t.room, atKey, "pass")
	t.beginRecord(p, slotAt, ip)

	p.Label("next")
	takeHead(p)
	takeWhole(p)
	goOn(p)
	t.emit(p)
	p.Label("drop")
	p.Return(0)
	p.Label("pass")
	p.Return(-1)
	return p.Instructions()
}

// beginRecord notes whose the message is and when it came, what of it is wanted whole, and where its datagrams end.
func (t *mediaTap) beginRecord(p *tap.Program, slotAt int32, ip bool) {
	p.Add(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, slotAt), asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Imm(asm.R3, 8), asm.Mov.Imm(asm.R4, 2))
	if ip {
		p.Add(asm.Mov.Imm(asm.R5, tap.FromNetworkHeader), asm.FnSkbLoadBytesRelative.Call())
	} else {
		p.Add(asm.FnSkbLoadBytes.Call())
	}
	p.Add(asm.JNE.Imm(asm.R0, 0, "pass"), asm.LoadMem(asm.R1, asm.R7, 8, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.RFP, atKey, asm.R1, asm.Word))
	p.Look(t.masks, atKey, "pass")
	p.Add(asm.StoreMem(asm.RFP, atMask, asm.R0, asm.DWord))
	p.Add(asm.FnKtimeGetNs.Call(), asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord))
	p.Add(asm.FnGetPrandomU32.Call(), asm.And.Imm(asm.R0, 63), asm.StoreMem(asm.R7, inChosen, asm.R0, asm.Word))
	p.Add(asm.LoadMem(asm.R1, asm.R6, tap.SkbGSOSize, asm.Word), asm.JNE.Imm(asm.R1, 0, "cut"), asm.Mov.Imm(asm.R1, 0xffff))
	p.Label("cut")
	p.Add(asm.StoreMem(asm.R7, inGSO, asm.R1, asm.Half))
	p.Add(asm.Mov.Imm(asm.R8, recordHead), asm.Mov.Imm(asm.R9, 8), asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, atIndex, asm.R1, asm.DWord))
}

// takeHead begins a datagram's entry: its size, and the head of it.
func takeHead(p *tap.Program) {
	p.Add(asm.JGT.Imm(asm.R8, tapFull, "emit"))
	p.Add(asm.LoadMem(asm.R4, asm.R6, tap.SkbLen, asm.Word), asm.JGE.Reg(asm.R9, asm.R4, "emit"), asm.Sub.Reg(asm.R4, asm.R9))
	p.Add(asm.LoadMem(asm.R1, asm.R7, inGSO, asm.Half), asm.JLE.Reg(asm.R4, asm.R1, "size"), asm.Mov.Reg(asm.R4, asm.R1))
	p.Label("size")
	p.Add(asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Reg(asm.R3, asm.R8), asm.StoreMem(asm.R3, 0, asm.R4, asm.Half))
	p.Add(asm.LoadMem(asm.R4, asm.R3, 0, asm.Half), asm.JLT.Imm(asm.R4, 2, "emit"))
	p.Add(asm.JLE.Imm(asm.R4, tapHead, "head"), asm.Mov.Imm(asm.R4, tapHead))
	p.Label("head")
	p.Add(asm.StoreMem(asm.R3, 2, asm.R4, asm.Half))
	loadEntry(p)
}

// takeWhole takes all of a datagram that is wanted so: the sample, padding (it may be all there is), RTCP, the payload types of the mask.
func takeWhole(p *tap.Program) {
	p.Add(asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Reg(asm.R3, asm.R8), asm.Mov.Imm(asm.R5, 0))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atIndex, asm.DWord), asm.And.Imm(asm.R1, 63), asm.LoadMem(asm.R2, asm.R7, inChosen, asm.Word), asm.JNE.Reg(asm.R1, asm.R2, "unsampled"))
	p.Add(asm.Mov.Imm(asm.R5, entrySampled), asm.Ja.Label("whole"))
	p.Label("unsampled")
	p.Add(asm.LoadMem(asm.R1, asm.R3, entryHead, asm.Byte), asm.And.Imm(asm.R1, 0x20), asm.JNE.Imm(asm.R1, 0, "whole"))
	p.Add(asm.LoadMem(asm.R1, asm.R3, entryHead+1, asm.Byte), asm.JLT.Imm(asm.R1, 192, "rtp"), asm.JLE.Imm(asm.R1, 223, "whole"))
	p.Label("rtp")
	p.Add(asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R1, 127), asm.RSh.Imm(asm.R1, 3), asm.And.Imm(asm.R2, 7))
	p.Add(asm.LoadMem(asm.R4, asm.RFP, atMask, asm.DWord), asm.Add.Reg(asm.R4, asm.R1), asm.LoadMem(asm.R4, asm.R4, 0, asm.Byte), asm.RSh.Reg(asm.R4, asm.R2), asm.And.Imm(asm.R4, 1))
	p.Add(asm.JEq.Imm(asm.R4, 0, "counted"))
	p.Label("whole")
	p.Add(asm.LoadMem(asm.R4, asm.R3, 0, asm.Half), asm.JLT.Imm(asm.R4, 2, "emit"), asm.JLE.Imm(asm.R4, tapWhole, "take"), asm.Mov.Imm(asm.R4, tapWhole))
	p.Label("take")
	p.Add(asm.Or.Reg(asm.R5, asm.R4), asm.StoreMem(asm.R3, 2, asm.R5, asm.Half))
	loadEntry(p)
}

// loadEntry copies R4 bytes of the datagram into the entry that R3 points to.
func loadEntry(p *tap.Program) {
	p.Add(asm.Add.Imm(asm.R3, entryHead), asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.R9))
	p.Add(asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "emit"))
}

// goOn ends an entry, and turns to the next datagram.
func goOn(p *tap.Program) {
	p.Label("counted")
	p.Add(asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Reg(asm.R3, asm.R8), asm.LoadMem(asm.R1, asm.R3, 2, asm.Half), asm.And.Imm(asm.R1, 0x7fff))
	p.Add(asm.JGT.Imm(asm.R1, tapWhole, "emit"), asm.Add.Imm(asm.R1, entryHead+3), asm.And.Imm(asm.R1, ^3), asm.Add.Reg(asm.R8, asm.R1))
	p.Add(asm.LoadMem(asm.R1, asm.R3, 0, asm.Half), asm.Add.Reg(asm.R9, asm.R1))
	p.Add(asm.LoadMem(asm.R1, asm.RFP, atIndex, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.RFP, atIndex, asm.R1, asm.DWord), asm.JLT.Imm(asm.R1, tapRuns, "next"))
}

// emit gives the record to the ring, or counts what it had no room for.
func (t *mediaTap) emit(p *tap.Program) {
	p.Label("emit")
	p.Add(asm.LoadMapPtr(asm.R1, t.ring.Map.FD()), asm.Mov.Reg(asm.R2, asm.R7), asm.Mov.Reg(asm.R3, asm.R8), asm.Mov.Imm(asm.R4, tap.RingNoWakeup), asm.FnRingbufOutput.Call())
	p.Add(asm.JEq.Imm(asm.R0, 0, "drop"))
	p.Add(asm.LoadMapValue(asm.R1, t.lost.Map.FD(), 0), asm.LoadMem(asm.R2, asm.RFP, atIndex, asm.DWord), asm.StoreXAdd(asm.R1, asm.R2, asm.DWord))
}
