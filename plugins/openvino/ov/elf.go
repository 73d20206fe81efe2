package ov

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// cut tells why a file is no whole library, "" when nothing shows: one that begins as an ELF file has all the bytes up to the table of
// sections that its header names, which linkers put last. The dynamic linker maps a library without asking for that, and a process
// that reaches for what is not there is killed. Of what is no ELF file the linker says so.
// (System V ABI, chapter 4, "ELF Header")
func cut(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return reason(err)
	}
	defer f.Close()
	var h elf.Header64
	if err := binary.Read(io.NewSectionReader(f, 0, 64), binary.LittleEndian, &h); err != nil || string(h.Ident[:4]) != elf.ELFMAG || elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return ""
	}
	st, err := f.Stat()
	if err != nil {
		return reason(err)
	}
	if end := h.Shoff + uint64(h.Shentsize)*uint64(h.Shnum); uint64(st.Size()) < end {
		return fmt.Sprintf("has %d bytes of at least %d", st.Size(), end)
	}
	return ""
}
