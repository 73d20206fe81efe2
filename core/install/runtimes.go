package install

import (
	"path"
	"slices"
	"strings"
)

// Runtime is a native library that optimize can bring.
type Runtime struct {
	// Name is the folder's name below runtimes, and what [Install] takes.
	Name string
	// Title is the name for people.
	Title   string
	Version string
	// Package is the name under which package installers know it.
	Package string
	// PythonVersion chooses among the package's wheels. The library in them is the same program for all; one is pinned.
	PythonVersion string
	// Build is the build number in the wheel's file name, for packages that have one.
	Build string
	// Variable names a library of the user's own instead.
	Variable string
	// Wheels are by "GOOS/GOARCH".
	Wheels map[string]Wheel
}

// Wheel is the package for one platform.
type Wheel struct {
	// Tag is the platform tag of pip, UVPlatform the target of uv.
	Tag, UVPlatform string
	// SHA256 is of the whole wheel.
	SHA256 string
	// Files are what is kept of it: the library first.
	Files []File
	// Libraries is the number of files at the head of Files without which the library does not work; 0 counts as one. The
	// others are licences and notices.
	Libraries int
}

// File is a file of a package.
type File struct {
	// Path is the name in the package.
	Path string
	// Size is in bytes.
	Size   int64
	SHA256 string
}

// Base is the name that the file is installed under.
func (f File) Base() string { return path.Base(f.Path) }

// optional files may lack when the library is taken from a folder and not from a wheel.
func (w Wheel) optional(f File) bool {
	return slices.Index(w.Files, f) >= max(w.Libraries, 1)
}

// Runtimes are the libraries that optimize knows, with what is pinned of them.
var Runtimes = []Runtime{onnxruntime, openvino}

var onnxruntime = Runtime{
	Name: "onnxruntime", Title: "ONNX Runtime", Version: "1.32.0", Package: "onnxruntime", PythonVersion: "3.11",
	Variable: "OPTIMIZE_ONNXRUNTIME",
	Wheels: map[string]Wheel{
		"linux/amd64": {
			Tag: "manylinux_2_28_x86_64", UVPlatform: "x86_64-manylinux_2_28",
			SHA256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
			Files: []File{
				{"onnxruntime/capi/libonnxruntime.so.1.32.0", 34824680, "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f"},
				{"onnxruntime/LICENSE", 1073, "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c"},
				{"onnxruntime/Privacy.md", 6571, "ea592b16d154ff2de759ba5210350c64593c378c1bbd0a2aa4ddef777edbf358"},
				{"onnxruntime/ThirdPartyNotices.txt", 334795, "d8696258afcf9df7827a5e01d6b6d55ee9b461b4e82020f5f48242deb9cc2270"},
				{"onnxruntime/capi/libonnxruntime_providers_shared.so", 14632, "8ef51f6bf2c621fc129f625b22241fa6f9a5870bc08eaf2fdd279169ec40d09a"},
			},
		},
		"linux/arm64": {
			Tag: "manylinux_2_28_aarch64", UVPlatform: "aarch64-manylinux_2_28",
			SHA256: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
			Files: []File{
				{"onnxruntime/capi/libonnxruntime.so.1.32.0", 27165936, "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a"},
				{"onnxruntime/LICENSE", 1073, "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c"},
				{"onnxruntime/Privacy.md", 6571, "ea592b16d154ff2de759ba5210350c64593c378c1bbd0a2aa4ddef777edbf358"},
				{"onnxruntime/ThirdPartyNotices.txt", 334795, "d8696258afcf9df7827a5e01d6b6d55ee9b461b4e82020f5f48242deb9cc2270"},
				{"onnxruntime/capi/libonnxruntime_providers_shared.so", 198792, "f91fa2b0a2b8dba9cbc319254d342fa8201fd94b5912b9ce717f82e2207ee3d5"},
			},
		},
		"darwin/arm64": {
			Tag: "macosx_14_0_arm64", UVPlatform: "aarch64-apple-darwin",
			SHA256: "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
			Files: []File{
				{"onnxruntime/capi/libonnxruntime.1.32.0.dylib", 35272344, "fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7"},
				{"onnxruntime/LICENSE", 1073, "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c"},
				{"onnxruntime/Privacy.md", 6571, "ea592b16d154ff2de759ba5210350c64593c378c1bbd0a2aa4ddef777edbf358"},
				{"onnxruntime/ThirdPartyNotices.txt", 334795, "d8696258afcf9df7827a5e01d6b6d55ee9b461b4e82020f5f48242deb9cc2270"},
			},
		},
		"windows/amd64": {
			Tag: "win_amd64", UVPlatform: "x86_64-pc-windows-msvc",
			SHA256: "d7e0c45cc5f456ad7805e6dd256a7662736cda9c2fd17becae194eb3c2f6df72",
			Files: []File{
				{"onnxruntime/capi/onnxruntime.dll", 22668640, "e9feebaed867b76f741c14ae64e056a3da64a153a61994f1fb48eadc7f9b3ba8"},
				{"onnxruntime/LICENSE", 1094, "c250d6278f0b47a6439fb7592b08b58a55eb9f535aa49a1db63211c3f982b674"},
				{"onnxruntime/Privacy.md", 6635, "8c26e1fc8581d9553e475250fe014e3d1e5ea4ae9f1cb084a068ff8601703dc9"},
				{"onnxruntime/ThirdPartyNotices.txt", 341120, "bf8073fd6a112ac2a656bb60799652127e881689e51d37ad20df446cd5188b2d"},
				{"onnxruntime/capi/onnxruntime_providers_shared.dll", 21816, "f5d764608b85d8715bceb373517ca7fe48d214b47f3bab8937e3ce6661c86572"},
			},
		},
		"windows/arm64": {
			Tag: "win_arm64", UVPlatform: "aarch64-pc-windows-msvc",
			SHA256: "23361cdf98afac352d10aa7d9e0a10ceaeb02d38430fb693c6eff370196db62d",
			Files: []File{
				{"onnxruntime/capi/onnxruntime.dll", 20798816, "d3587771474d96427cc5683fa49440127e928622a5e9df0f3e24209ae1fc42ad"},
				{"onnxruntime/LICENSE", 1094, "c250d6278f0b47a6439fb7592b08b58a55eb9f535aa49a1db63211c3f982b674"},
				{"onnxruntime/Privacy.md", 6635, "8c26e1fc8581d9553e475250fe014e3d1e5ea4ae9f1cb084a068ff8601703dc9"},
				{"onnxruntime/ThirdPartyNotices.txt", 341120, "bf8073fd6a112ac2a656bb60799652127e881689e51d37ad20df446cd5188b2d"},
				{"onnxruntime/capi/onnxruntime_providers_shared.dll", 21304, "130c624880cf5bbc5536202d59c842708c6e0482837409ad151ca9947d7beef1"},
			},
		},
	},
}

// Supports tells whether there is a package of the runtime for a platform, "linux/amd64".
func Supports(name, platform string) bool {
	r, ok := find(name)
	_, has := r.Wheels[platform]
	return ok && has
}

func find(name string) (Runtime, bool) {
	i := slices.IndexFunc(Runtimes, func(r Runtime) bool { return r.Name == name })
	if i < 0 {
		return Runtime{}, false
	}
	return Runtimes[i], true
}

func names() string {
	var out []string
	for _, r := range Runtimes {
		out = append(out, r.Name)
	}
	return strings.Join(out, ", ")
}

// wheelName is the file name of a wheel, as pip saves it.
func (r Runtime) wheelName(w Wheel) string {
	py := "cp" + strings.ReplaceAll(r.PythonVersion, ".", "")
	parts := []string{r.Package, r.Version}
	if r.Build != "" {
		parts = append(parts, r.Build)
	}
	return strings.Join(append(parts, py, py, w.Tag), "-") + ".whl"
}

// downloadArgs are pip's arguments that fetch the wheel into a folder.
func (r Runtime) downloadArgs(w Wheel, dest string) []string {
	return []string{
		"download", "--no-deps", "--only-binary", ":all:", "--platform", w.Tag, "--python-version", r.PythonVersion,
		"--implementation", "cp", "--dest", dest, r.Package + "==" + r.Version,
	}
}
