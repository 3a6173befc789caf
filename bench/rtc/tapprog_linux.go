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

// program is a socket filter. It lets pass what belongs to ICE and DTLS. Of RTP and RTCP it notes the headers, of some packets all of it, and
// lets none into the socket. slotAt is where the 16 bits that name the transport stand, behind the UDP header's or (ip) the IP header's start.
//
//	R6 the packet, R7 the record, R8 how long that is, R9 where in the packet the next datagram begins
func (t *mediaTap) program(slotAt int32, ip bool) asm.Instructions {
	const ( // places on the stack
		first = -8  // first bytes of the packet
		key   = -12 // of maps
		mask  = -24 // pointer to the payload types that are wanted whole
		index = -32 // of the datagram in the run
	)
	// Places in the record that the reader does not look at. What is read from there is any number to the verifier; what is known to it of one
	// turn of the loop makes the next one another that it has to look at.
	const (
		gso    = 10 // size of all datagrams but the last
		chosen = 12 // which of 64 is the sample
	)
	stack := func(r asm.Register, at int16) asm.Instructions {
		return asm.Instructions{asm.Mov.Reg(r, asm.RFP), asm.Add.Imm(r, int32(at))}
	}
	var p asm.Instructions
	add := func(i ...asm.Instruction) { p = append(p, i...) }

	// R1..R3 of skb_load_bytes are set, R4 is the length.
	add(asm.Mov.Reg(asm.R6, asm.R1))
	add(asm.Mov.Imm(asm.R2, 8))
	add(stack(asm.R3, first)...)
	add(asm.Mov.Imm(asm.R4, 2), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "pass"))
	add(asm.LoadMem(asm.R1, asm.RFP, first, asm.Byte)) // RFC 7983
	add(asm.JLT.Imm(asm.R1, 128, "pass"), asm.JGT.Imm(asm.R1, 191, "pass"))

	// the record of this CPU
	add(asm.FnGetSmpProcessorId.Call(), asm.StoreMem(asm.RFP, key, asm.R0, asm.Word), asm.LoadMapPtr(asm.R1, t.room.Map.FD()))
	add(stack(asm.R2, key)...)
	add(asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "pass"), asm.Mov.Reg(asm.R7, asm.R0))

	// whose it is, and what of it is wanted whole
	add(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, slotAt), asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Imm(asm.R3, 8), asm.Mov.Imm(asm.R4, 2))
	if ip {
		add(asm.Mov.Imm(asm.R5, tap.FromNetworkHeader), asm.FnSkbLoadBytesRelative.Call())
	} else {
		add(asm.FnSkbLoadBytes.Call())
	}
	add(asm.JNE.Imm(asm.R0, 0, "pass"), asm.LoadMem(asm.R1, asm.R7, 8, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.RFP, key, asm.R1, asm.Word))
	add(asm.LoadMapPtr(asm.R1, t.masks.Map.FD()))
	add(stack(asm.R2, key)...)
	add(asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "pass"), asm.StoreMem(asm.RFP, mask, asm.R0, asm.DWord))

	add(asm.FnKtimeGetNs.Call(), asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord))
	add(asm.FnGetPrandomU32.Call(), asm.And.Imm(asm.R0, 63), asm.StoreMem(asm.R7, chosen, asm.R0, asm.Word))
	add(asm.LoadMem(asm.R1, asm.R6, tap.SkbGSOSize, asm.Word), asm.JNE.Imm(asm.R1, 0, "cut"), asm.Mov.Imm(asm.R1, 0xffff))
	add(asm.StoreMem(asm.R7, gso, asm.R1, asm.Half).WithSymbol("cut"))
	add(asm.Mov.Imm(asm.R8, recordHead), asm.Mov.Imm(asm.R9, 8), asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, index, asm.R1, asm.DWord))

	// each datagram: the head of it
	add(asm.JGT.Imm(asm.R8, tapFull, "emit").WithSymbol("next"))
	add(asm.LoadMem(asm.R4, asm.R6, tap.SkbLen, asm.Word), asm.JGE.Reg(asm.R9, asm.R4, "emit"), asm.Sub.Reg(asm.R4, asm.R9))
	add(asm.LoadMem(asm.R1, asm.R7, gso, asm.Half), asm.JLE.Reg(asm.R4, asm.R1, "size"), asm.Mov.Reg(asm.R4, asm.R1))
	add(asm.Mov.Reg(asm.R3, asm.R7).WithSymbol("size"), asm.Add.Reg(asm.R3, asm.R8), asm.StoreMem(asm.R3, 0, asm.R4, asm.Half))
	add(asm.LoadMem(asm.R4, asm.R3, 0, asm.Half), asm.JLT.Imm(asm.R4, 2, "emit"))
	add(asm.JLE.Imm(asm.R4, tapHead, "head"), asm.Mov.Imm(asm.R4, tapHead))
	add(asm.StoreMem(asm.R3, 2, asm.R4, asm.Half).WithSymbol("head"), asm.Add.Imm(asm.R3, entryHead), asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.R9))
	add(asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "emit"))

	// is it wanted whole: the sample, padding (it may be all), RTCP, the payload types of the mask
	add(asm.Mov.Reg(asm.R3, asm.R7), asm.Add.Reg(asm.R3, asm.R8), asm.Mov.Imm(asm.R5, 0))
	add(asm.LoadMem(asm.R1, asm.RFP, index, asm.DWord), asm.And.Imm(asm.R1, 63), asm.LoadMem(asm.R2, asm.R7, chosen, asm.Word), asm.JNE.Reg(asm.R1, asm.R2, "unsampled"))
	add(asm.Mov.Imm(asm.R5, entrySampled), asm.Ja.Label("whole"))
	add(asm.LoadMem(asm.R1, asm.R3, entryHead, asm.Byte).WithSymbol("unsampled"), asm.And.Imm(asm.R1, 0x20), asm.JNE.Imm(asm.R1, 0, "whole"))
	add(asm.LoadMem(asm.R1, asm.R3, entryHead+1, asm.Byte), asm.JLT.Imm(asm.R1, 192, "rtp"), asm.JLE.Imm(asm.R1, 223, "whole"))
	add(asm.Mov.Reg(asm.R2, asm.R1).WithSymbol("rtp"), asm.And.Imm(asm.R1, 127), asm.RSh.Imm(asm.R1, 3), asm.And.Imm(asm.R2, 7))
	add(asm.LoadMem(asm.R4, asm.RFP, mask, asm.DWord), asm.Add.Reg(asm.R4, asm.R1), asm.LoadMem(asm.R4, asm.R4, 0, asm.Byte), asm.RSh.Reg(asm.R4, asm.R2), asm.And.Imm(asm.R4, 1))
	add(asm.JEq.Imm(asm.R4, 0, "counted"))
	add(asm.LoadMem(asm.R4, asm.R3, 0, asm.Half).WithSymbol("whole"), asm.JLT.Imm(asm.R4, 2, "emit"), asm.JLE.Imm(asm.R4, tapWhole, "take"), asm.Mov.Imm(asm.R4, tapWhole))
	add(asm.Or.Reg(asm.R5, asm.R4).WithSymbol("take"), asm.StoreMem(asm.R3, 2, asm.R5, asm.Half), asm.Add.Imm(asm.R3, entryHead), asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.R9))
	add(asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "emit"))

	// on to the next
	add(asm.Mov.Reg(asm.R3, asm.R7).WithSymbol("counted"), asm.Add.Reg(asm.R3, asm.R8), asm.LoadMem(asm.R1, asm.R3, 2, asm.Half), asm.And.Imm(asm.R1, 0x7fff))
	add(asm.JGT.Imm(asm.R1, tapWhole, "emit"), asm.Add.Imm(asm.R1, entryHead+3), asm.And.Imm(asm.R1, ^3), asm.Add.Reg(asm.R8, asm.R1))
	add(asm.LoadMem(asm.R1, asm.R3, 0, asm.Half), asm.Add.Reg(asm.R9, asm.R1))
	add(asm.LoadMem(asm.R1, asm.RFP, index, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.RFP, index, asm.R1, asm.DWord), asm.JLT.Imm(asm.R1, tapRuns, "next"))

	// give it to the ring
	add(asm.LoadMapPtr(asm.R1, t.ring.Map.FD()).WithSymbol("emit"), asm.Mov.Reg(asm.R2, asm.R7), asm.Mov.Reg(asm.R3, asm.R8), asm.Mov.Imm(asm.R4, tap.RingNoWakeup), asm.FnRingbufOutput.Call())
	add(asm.JEq.Imm(asm.R0, 0, "drop"))
	add(asm.LoadMapValue(asm.R1, t.lost.Map.FD(), 0), asm.LoadMem(asm.R2, asm.RFP, index, asm.DWord), asm.StoreXAdd(asm.R1, asm.R2, asm.DWord))
	add(asm.Mov.Imm(asm.R0, 0).WithSymbol("drop"), asm.Return())
	add(asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), asm.Return())
	return p
}
