package rtp

import "encoding/binary"

func put32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

// head appends an RTCP header whose length finish sets.
func head(dst []byte, count, typ uint8, ssrc uint32) []byte {
	return put32(append(dst, 0x80|count&0x1f, typ, 0, 0), ssrc)
}

// finish writes the length of the packet that begins at dst[at].
func finish(dst []byte, at int) []byte {
	binary.BigEndian.PutUint16(dst[at+2:], uint16((len(dst)-at)/4-1))
	return dst
}

// maxBlocks is the most report blocks that one SR or RR can hold: the count has 5 bits.
const maxBlocks = 31

func appendBlocks(dst []byte, blocks []ReportBlock) []byte {
	for i := range blocks {
		r := &blocks[i]
		dst = put32(dst, r.SSRC)
		dst = put32(dst, uint32(r.Fraction)<<24|uint32(r.Lost)&0xffffff)
		dst = put32(dst, r.HighestSeq)
		dst = put32(dst, r.Jitter)
		dst = put32(dst, r.LSR)
		dst = put32(dst, r.DLSR)
	}
	return dst
}

// AppendRR appends receiver reports (RFC 3550 §6.4.2). More than 31 blocks go into further reports.
func AppendRR(dst []byte, ssrc uint32, blocks []ReportBlock) []byte {
	for {
		n := min(len(blocks), maxBlocks)
		at := len(dst)
		dst = finish(appendBlocks(head(dst, uint8(n), TypeRR, ssrc), blocks[:n]), at)
		if blocks = blocks[n:]; len(blocks) == 0 {
			return dst
		}
	}
}

// AppendSR appends a sender report (RFC 3550 §6.4.1). More than 31 blocks go into receiver reports behind it.
func AppendSR(dst []byte, ssrc uint32, ntp uint64, rtpTS, packets, octets uint32, blocks []ReportBlock) []byte {
	n := min(len(blocks), maxBlocks)
	at := len(dst)
	dst = head(dst, uint8(n), TypeSR, ssrc)
	dst = binary.BigEndian.AppendUint64(dst, ntp)
	dst = put32(put32(put32(dst, rtpTS), packets), octets)
	dst = finish(appendBlocks(dst, blocks[:n]), at)
	if len(blocks) > n {
		dst = AppendRR(dst, ssrc, blocks[n:])
	}
	return dst
}

// AppendSDESCname appends a source description with one CNAME (RFC 3550 §6.5.1), cut to 255 bytes.
func AppendSDESCname(dst []byte, ssrc uint32, cname string) []byte {
	if len(cname) > 255 {
		cname = cname[:255]
	}
	at := len(dst)
	dst = head(dst, 1, TypeSDES, ssrc)
	dst = append(dst, 1, byte(len(cname)))
	dst = append(dst, cname...)
	dst = append(dst, 0) // end of the chunk's items, then filled up to 4 bytes
	for (len(dst)-at)%4 != 0 {
		dst = append(dst, 0)
	}
	return finish(dst, at)
}

// AppendNACK appends a generic NACK (RFC 4585 §6.2.1) for seqs, which are packed best in ascending (circular) order. Nothing is
// appended for no seqs.
func AppendNACK(dst []byte, sender, media uint32, seqs []uint16) []byte {
	if len(seqs) == 0 {
		return dst
	}
	at := len(dst)
	dst = put32(head(dst, FmtNACK, TypeRTPFB, sender), media)
	for i := 0; i < len(seqs); {
		pid := seqs[i]
		var mask uint16
		for i++; i < len(seqs); i++ {
			d := seqs[i] - pid
			if d > 16 {
				break
			}
			if d > 0 {
				mask |= 1 << (d - 1)
			}
		}
		dst = put32(dst, uint32(pid)<<16|uint32(mask))
	}
	return finish(dst, at)
}

// AppendPLI appends a picture loss indication (RFC 4585 §6.3.1).
func AppendPLI(dst []byte, sender, media uint32) []byte {
	at := len(dst)
	return finish(put32(head(dst, FmtPLI, TypePSFB, sender), media), at)
}

// AppendFIR appends a full intra request (RFC 5104 §4.3.1). seqnr must grow with each new command to that media sender.
func AppendFIR(dst []byte, sender, media uint32, seqnr uint8) []byte {
	at := len(dst)
	dst = put32(put32(head(dst, FmtFIR, TypePSFB, sender), 0), media)
	return finish(append(dst, seqnr, 0, 0, 0), at)
}
