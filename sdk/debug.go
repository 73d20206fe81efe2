package sdk

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"

	"google.golang.org/grpc"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// debugArgument, as the only argument, has a plugin serve by itself, for a debugger.
const debugArgument = "debug"

// serveDebug serves the plugin on a socket of its own until it is interrupted, and says how optimize finds it. There is
// no lease and no encryption: the socket's folder is the user's alone.
func serveDebug(p *Plugin) error {
	if err := p.Check(); err != nil {
		return err
	}
	network, addr := "unix", ""
	if runtime.GOOS == "windows" {
		network, addr = "tcp", "127.0.0.1:0"
	} else {
		dir, err := os.MkdirTemp("", "optimize-debug-") // mode 0700
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		addr = filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	target := "unix://" + addr
	if network == "tcp" {
		target = l.Addr().String()
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(pluginv1.MaxWireMessage), grpc.MaxSendMsgSize(pluginv1.MaxWireMessage))
	Register(s, p)
	fmt.Printf("Plugin %s waits for Optimize. In another terminal:\n\n  export %s='%s=%s'\n  optimize apply recipe.hcl\n\nCtrl-C ends it.\n",
		p.Name, pluginv1.ReattachVariable, p.Name, target)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	go func() {
		<-stop
		s.Stop()
	}()
	return s.Serve(l)
}
