package tap

import "github.com/cilium/ebpf/asm"

// Program is a socket filter in the making. R6 is the packet from Begin on; the callers say what they use R7 to R9 for.
type Program struct {
	code  asm.Instructions
	label string // of the instruction that comes next
}

// Add appends instructions.
func (p *Program) Add(i ...asm.Instruction) {
	if p.label != "" && len(i) > 0 {
		i[0] = i[0].WithSymbol(p.label)
		p.label = ""
	}
	p.code = append(p.code, i...)
}

// Label names what comes next, for jumps.
func (p *Program) Label(name string) { p.label = name }

// Begin keeps the packet.
func (p *Program) Begin() { p.Add(asm.Mov.Reg(asm.R6, asm.R1)) }

// Stack points a register to a place on the stack.
func (p *Program) Stack(r asm.Register, at int16) {
	p.Add(asm.Mov.Reg(r, asm.RFP), asm.Add.Imm(r, int32(at)))
}

// Packet copies size bytes of the packet from an offset in it to a place on the stack, and goes on elsewhere where there are not so many.
func (p *Program) Packet(offset int32, to int16, size int32, short string) {
	p.Add(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, offset))
	p.Stack(asm.R3, to)
	p.Add(asm.Mov.Imm(asm.R4, size), asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, short))
}

// Look finds in R0 the value of a key that is on the stack, and goes on elsewhere where there is none.
func (p *Program) Look(a *Array, key int16, none string) {
	p.Add(asm.LoadMapPtr(asm.R1, a.Map.FD()))
	p.Stack(asm.R2, key)
	p.Add(asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, none))
}

// OfCPU finds in R7 this CPU's entry of an array; key is a place on the stack.
func (p *Program) OfCPU(a *Array, key int16, none string) {
	p.Add(asm.FnGetSmpProcessorId.Call(), asm.StoreMem(asm.RFP, key, asm.R0, asm.Word))
	p.Look(a, key, none)
	p.Add(asm.Mov.Reg(asm.R7, asm.R0))
}

// Return ends the program: with how many bytes of the packet are queued for the socket, -1 for all of it.
func (p *Program) Return(queued int32) { p.Add(asm.Mov.Imm(asm.R0, queued), asm.Return()) }

// Instructions are the program.
func (p *Program) Instructions() asm.Instructions { return p.code }
