package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"syscall"
)

const (
	magic       = "konzil ledger 2\n"
	bootBytes   = 40 // the boot the file was written in
	headerBytes = 64 // magic, boot, generation
	frameBytes  = 8  // length and checksum before each record
)

// castagnoli is the polynomial that processors have an instruction for, also for a few bytes.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// region is one log file, mapped. Behind its last record there may be some of a generation before, whose checksums do not fit.
type region struct {
	file       *os.File
	mem        []byte
	end        int // where the next record goes
	generation uint64
}

// createRegion makes a log of size bytes. It is filled, not sparse: a full disk shows here and not as a fault in the mapping.
func createRegion(path string, size int, boot string, generation uint64) (*region, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 256<<10)
	for at := 0; at < size; at += len(zeros) {
		if _, err := f.WriteAt(zeros[:min(len(zeros), size-at)], int64(at)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	r, err := mapRegion(f, size)
	if err != nil {
		return nil, err
	}
	r.begin(boot, generation)
	return r, nil
}

// begin empties a region.
func (r *region) begin(boot string, generation uint64) {
	copy(r.mem, magic)
	clear(r.mem[len(magic):headerBytes])
	copy(r.mem[len(magic):len(magic)+bootBytes], boot)
	binary.LittleEndian.PutUint64(r.mem[headerBytes-8:], generation)
	binary.LittleEndian.PutUint32(r.mem[headerBytes:], 0)
	r.end, r.generation = headerBytes, generation
}

// checksum is that of a record in this generation.
func (r *region) checksum(rec []byte) uint32 {
	return crc32.Update(uint32(r.generation), castagnoli, rec)
}

// openRegion maps a log that is there.
func openRegion(path string) (*region, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if st.Size() < headerBytes {
		return nil, errors.Join(errDamaged, f.Close())
	}
	r, err := mapRegion(f, int(st.Size()))
	if err != nil {
		return nil, err
	}
	if string(r.mem[:len(magic)]) != magic {
		return nil, errors.Join(errDamaged, r.close())
	}
	r.generation = binary.LittleEndian.Uint64(r.mem[headerBytes-8:])
	return r, nil
}

func mapRegion(f *os.File, size int) (*region, error) {
	mem, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ledger: mapping the log: %w", err), f.Close())
	}
	return &region{file: f, mem: mem, end: headerBytes}, nil
}

func (r *region) close() error { return errors.Join(syscall.Munmap(r.mem), r.file.Close()) }

// boot is what createRegion was given.
func (r *region) boot() string {
	b := r.mem[len(magic) : len(magic)+bootBytes]
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// fits tells whether a record of n bytes has room.
func (r *region) fits(n int) bool { return r.end+frameBytes+n+frameBytes <= len(r.mem) }

// add puts a record at the end and gives where its bytes are. It must fit.
func (r *region) add(rec []byte) (at int) {
	at = r.end + frameBytes
	copy(r.mem[at:], rec)
	binary.LittleEndian.PutUint32(r.mem[r.end+4:], r.checksum(rec))
	binary.LittleEndian.PutUint32(r.mem[r.end:], uint32(len(rec)))
	r.end = at + len(rec)
	return at
}

// next reads the record at the end and goes behind it; false: there is none, or it is damaged.
func (r *region) next() (at int, rec []byte, ok bool) {
	if r.end+frameBytes > len(r.mem) {
		return 0, nil, false
	}
	n := int(binary.LittleEndian.Uint32(r.mem[r.end:]))
	at = r.end + frameBytes
	if n == 0 || n > len(r.mem)-at {
		return 0, nil, false
	}
	rec = r.mem[at : at+n]
	if r.checksum(rec) != binary.LittleEndian.Uint32(r.mem[r.end+4:]) {
		return 0, nil, false
	}
	r.end = at + n
	return at, rec, true
}
