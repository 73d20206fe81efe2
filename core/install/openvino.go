package install

// openvino is Intel's engine. Of its package six files are kept: what reads ONNX and its own IR and runs both on a CPU.
// A package of macOS and of Windows exists; the plugin drives the library on Linux.
var openvino = Runtime{
	Name: "openvino", Title: "OpenVINO", Version: "2026.4.1", Build: "22982", Package: "openvino", PythonVersion: "3.11",
	Variable: "OPTIMIZE_OPENVINO",
	Wheels: map[string]Wheel{
		"linux/amd64": {
			Tag: "manylinux_2_28_x86_64", UVPlatform: "x86_64-manylinux_2_28", Libraries: 6,
			SHA256: "2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf",
			Files: []File{
				{"openvino/libs/libopenvino.so.2641", 20526937, "9b9a80ac1f18e07b13ed54459d9a865bcfe9dc170dbf8fe740c2974b85ecedc1"},
				{"openvino/libs/libopenvino_c.so.2641", 377505, "d2d0836d422b21fc5da2739af0d6035df3fc6dd5e4756402eb848974edecf8a5"},
				{"openvino/libs/libopenvino_onnx_frontend.so.2641", 6827321, "82d499f5b5e8514def7aaa1ecd5a9f570542d33ae9d00a0077f707cccd0e0192"},
				{"openvino/libs/libopenvino_ir_frontend.so.2641", 640313, "554e9fd3d4a0fbc587c14379464b2324e24b8ea736cfb749ad2cd9e74dfc09e0"},
				{"openvino/libs/libopenvino_intel_cpu_plugin.so", 63691929, "6599e3dd300d047b5ed72f8e48101c5f312c25321f35f57f803641ff8372900b"},
				{"openvino/libs/libtbb.so.12", 369313, "ac9518497a4f2cb6729792730f145ee58367316031511923fef263c9ac81ca61"},
				{"openvino-2026.4.1.dist-info/licenses/LICENSE", 11357, "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4"},
				{"openvino-2026.4.1.dist-info/licenses/licensing/onednn_third-party-programs.txt", 28475, "f1b16991dfe8488f3f5f07cccba575c31c91175a9f2c8d9e1569665f86e0b2f6"},
				{"openvino-2026.4.1.dist-info/licenses/licensing/onetbb_third-party-programs.txt", 46979, "b10997cc50652ba6ab365e3bc43e13057681cd4a56533b46171529bd249749f3"},
				{"openvino-2026.4.1.dist-info/licenses/licensing/runtime-third-party-programs.txt", 120451, "caf4040a8c3043c9fdc7638ccc61078b40ce623e69e3bcd2bc544ae70a368b2f"},
			},
		},
		"linux/arm64": {
			Tag: "manylinux_2_35_aarch64", UVPlatform: "aarch64-manylinux_2_35", Libraries: 6,
			SHA256: "bea1eb3733c34ef331adc945da0ccda5937865031139073663be84c517ffda22",
			Files: []File{
				{"openvino/libs/libopenvino.so.2641", 17135873, "4a4ce9bb19ab78288b36ff39cbfebf1307c6b1ffda953b0c2b32129a8e89f04a"},
				{"openvino/libs/libopenvino_c.so.2641", 356801, "dfb34063847add4fe0689583633e74b69d7844e9e5a4b085476b0861c0b28f51"},
				{"openvino/libs/libopenvino_onnx_frontend.so.2641", 5845145, "2ea8eb7270401e9a1ccf4de9f5fc4bcb3177d00f431a8e9bfa24dfe19b7a4578"},
				{"openvino/libs/libopenvino_ir_frontend.so.2641", 554009, "0c1e737e93e78b5ffaf854d830140d2d84046847e19cd5226a1aff1c56be4431"},
				{"openvino/libs/libopenvino_arm_cpu_plugin.so", 44571169, "839cb0653151d0962e13a129b7b1ad2ffc700b5a1472e847cdcb83e523cf424e"},
				{"openvino/libs/libtbb.so.12", 274601, "07ad125a3e19dbc40cf74ea6d4bd4c67ad7df5aaff9611178eea99592bc7a921"},
				{"openvino-2026.4.1.dist-info/licenses/LICENSE", 11357, "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4"},
				{"openvino-2026.4.1.dist-info/licenses/licensing/onednn_third-party-programs.txt", 28475, "f1b16991dfe8488f3f5f07cccba575c31c91175a9f2c8d9e1569665f86e0b2f6"},
				{"openvino-2026.4.1.dist-info/licenses/licensing/onetbb_third-party-programs.txt", 46979, "b10997cc50652ba6ab365e3bc43e13057681cd4a56533b46171529bd249749f3"},
				{"openvino-2026.4.1.dist-info/licenses/licensing/runtime-third-party-programs.txt", 120451, "caf4040a8c3043c9fdc7638ccc61078b40ce623e69e3bcd2bc544ae70a368b2f"},
			},
		},
	},
}
