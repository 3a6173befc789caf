package sfu

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"

	"konzil/sfu/seal"
)

// bareTime is how long the bare loop runs.
const bareTime = 2 * time.Second

// bareLoop is the least that an SFU could do: nothing but sealing one payload for each destination and sending it, run packets a destination
// and message, which lie without a gap, as many messages a call as stay in the core's own cache (sendAhead). No sequence numbers, no look-ups, no receive
// side. It returns the packets and the CPU time.
func bareLoop(to []netip.AddrPort, run int, profile srtp.ProtectionProfile) (packets int, cpu int64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	type hdr struct {
		h unix.Msghdr
		n uint32
	}
	const header = 24
	payload := make([]byte, videoBytes-header)
	var (
		hdrs    = make([]hdr, len(to))
		names   = make([]unix.RawSockaddrInet4, len(to))
		ctls    = make([][32]byte, len(to))
		iovs    = make([]unix.Iovec, len(to))
		arena   = make([]byte, sendAhead+(run+1)*maxPacket)
		sealers = make([]*seal.Sealer, len(to))
		tags    = new(seal.Tags)
		pin     runtime.Pinner
	)
	defer pin.Unpin()
	for i, a := range to {
		k, salt := make([]byte, 16), make([]byte, 14)
		if profile == srtp.ProtectionProfileAeadAes128Gcm {
			salt = salt[:12]
		}
		if sealers[i], err = seal.NewSealer(profile, seal.Keys{Key: k, Salt: salt}); err != nil {
			return 0, 0, err
		}
		names[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&names[i].Port))[:], a.Port())
		h := &hdrs[i].h
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&names[i])), unix.SizeofSockaddrInet4
		h.Iov = &iovs[i]
		h.SetIovlen(1)
		c := (*unix.Cmsghdr)(unsafe.Pointer(&ctls[i][0]))
		c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
		if run > 1 {
			h.Control = &ctls[i][0]
			h.SetControllen(unix.CmsgSpace(2))
		}
		pin.Pin(&names[i])
		pin.Pin(&iovs[i])
		pin.Pin(&ctls[i][0])
	}
	var index uint64
	start := threadNow()
	for began := time.Now(); time.Since(began) < bareTime; index += uint64(run) {
		for i, used, first := 0, 0, 0; i < len(to); i++ {
			size, begin := 0, used
			for j := range run {
				dst := arena[used : used+header : used+maxPacket]
				dst[0], dst[1] = 0x80, ptVP8
				binary.BigEndian.PutUint16(dst[2:], uint16(index)+uint16(j))
				out, err := sealers[i].Later(tags, dst, header, payload, 1, index+uint64(j))
				if err != nil {
					return 0, 0, err
				}
				size = len(out)
				used += size
			}
			iovs[i].Base = &arena[begin]
			iovs[i].SetLen(used - begin)
			binary.NativeEndian.PutUint16(ctls[i][unix.SizeofCmsghdr:], uint16(size))
			if used < sendAhead && i+1 < len(to) {
				continue
			}
			tags.Finish()
			for used = 0; first <= i; {
				n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdrs[first])), uintptr(i+1-first), 0, 0, 0)
				if e != 0 {
					return 0, 0, e
				}
				first += int(n)
				packets += int(n) * run
			}
		}
	}
	return packets, threadNow() - start, nil
}

func threadNow() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}

// BenchmarkLimit compares the whole server at high load with bareLoop, in one run on the same core: the same number of destinations, the
// same run length, the same cipher. limit-% is the share of the limit.
func BenchmarkLimit(b *testing.B) {
	for _, c := range []struct {
		name   string
		cipher dtls.SRTPProtectionProfile
		every  time.Duration
	}{
		{"gcm128", dtls.SRTP_AEAD_AES_128_GCM, 1500 * time.Microsecond},
		{"cm", dtls.SRTP_AES128_CM_HMAC_SHA1_80, 1500 * time.Microsecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			sc := loadScene{publishers: 1, receivers: 100, perFrame: 7, cipher: c.cipher, every: c.every, silent: true}
			child := startLoadChild(b)
			defer child.close()
			l := newLoad(b, sc, child)
			var to []netip.AddrPort
			for range sc.receivers {
				p := &loadPeer{}
				to = append(to, l.open(p, false))
				l.idle = append(l.idle, p)
			}
			l.mu.Lock()
			l.list = append(l.list, l.idle...)
			l.mu.Unlock()
			res := child.call(loadReq{Op: "limit", To: to, Run: sc.perFrame, Profile: srtp.ProtectionProfile(c.cipher)})
			limit := float64(res.Packets) / (float64(res.CPU) / 1e9)
			l.close()
			child.close()
			got := benchServer(b, sc)
			b.ReportMetric(limit, "limit-packets/cpu-s")
			b.ReportMetric(100*got/limit, "limit-%")
		})
	}
}
