package install

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// libraryMagic are the first bytes of shared libraries: ELF, Mach-O (one and several architectures), PE.
var libraryMagic = [][]byte{[]byte("\x7fELF"), {0xcf, 0xfa, 0xed, 0xfe}, {0xce, 0xfa, 0xed, 0xfe}, {0xca, 0xfe, 0xba, 0xbe}, []byte("MZ")}

// libraryFolders are where packages have their libraries, below the folder that a user may name.
var libraryFolders = []string{".", "lib", "libs", "capi", "onnxruntime/capi", "openvino/libs", "runtime/lib/intel64", "runtime/lib/aarch64"}

// CheckOwn tells why a path that the user names cannot be a shared library, or a folder that holds one. Whether the
// library can be used shows when it is loaded.
func CheckOwn(path string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it does not exist")
	case err != nil:
		return cause(err)
	case !st.IsDir():
		return checkMagic(path)
	}
	if _, err := os.ReadDir(path); err != nil {
		return cause(err)
	}
	for _, sub := range libraryFolders {
		dir := filepath.Join(path, filepath.FromSlash(sub))
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			n := e.Name()
			if (strings.Contains(n, ".so") || strings.HasSuffix(n, ".dylib") || strings.HasSuffix(n, ".dll")) && checkMagic(filepath.Join(dir, n)) == nil {
				return nil
			}
		}
	}
	return errors.New("the folder holds no shared library")
}

func checkMagic(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return cause(err)
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return cause(err)
	}
	for _, m := range libraryMagic {
		if bytes.HasPrefix(head[:n], m) {
			return nil
		}
	}
	return errors.New("it is no shared library")
}

// cause is an error without the operation and the path.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
