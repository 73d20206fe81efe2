package plugintest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var startChecks = []check{
	{"start/handshake", "It prints its handshake when it is started with the cookie.", func(ctx context.Context, k *kit) error {
		_, err := k.process(ctx)
		return err
	}},
	{"start/quiet", "Nothing else comes to stdout before the handshake.", func(ctx context.Context, k *kit) error {
		p, err := k.process(ctx)
		if err == nil && len(p.noise) > 0 {
			err = fmt.Errorf("it printed %q first: print to stderr", p.noise[0])
		}
		return err
	}},
	{"start/protocol", fmt.Sprintf("It speaks version %d of the protocol, over gRPC.", pluginv1.ProtocolVersion), func(ctx context.Context, k *kit) error {
		p, err := k.process(ctx)
		switch {
		case err != nil:
			return err
		case p.handshake.protocol != pluginv1.ProtocolVersion:
			return fmt.Errorf("its handshake offers version %d", p.handshake.protocol)
		case p.handshake.core != 1 || p.handshake.kind != "grpc":
			return fmt.Errorf("its handshake says core protocol %d and %q; write 1 and grpc", p.handshake.core, p.handshake.kind)
		}
		return nil
	}},
	{"start/mtls", "It takes the certificate of PLUGIN_CLIENT_CERT and gives its own in the handshake.", func(ctx context.Context, k *kit) error {
		p, err := k.process(ctx)
		if err == nil && p.handshake.certificate == nil {
			err = errors.New("its handshake has no certificate: whoever finds the socket could give it orders")
		}
		return err
	}},
	{"start/strangers", "A connection without the host's certificate is refused.", strangers},
	{"start/socket", "Its socket lies in PLUGIN_UNIX_SOCKET_DIR or is a loopback port.", func(ctx context.Context, k *kit) error {
		p, err := k.process(ctx)
		if err != nil {
			return err
		}
		switch p.handshake.network {
		case "unix":
			if !strings.HasPrefix(p.handshake.address, k.tmp) {
				return fmt.Errorf("its socket is %s: others could reach it", p.handshake.address)
			}
			return nil
		case "tcp":
			host, _, err := net.SplitHostPort(p.handshake.address)
			if ip := net.ParseIP(host); err == nil && (ip == nil || !ip.IsLoopback()) {
				return fmt.Errorf("it listens on %s, which other machines may reach", p.handshake.address)
			}
			return err
		}
		return fmt.Errorf("it listens on the network %q", p.handshake.network)
	}},
	{"start/by-hand", "Started by hand, without the cookie, it says what it is and ends with an exit code that is not 0.", byHand},
	{"start/bare", "It starts with no variables but PATH and those of the handshake.", func(ctx context.Context, k *kit) error {
		return k.startsIn(ctx, place{cookie: true, bare: true})
	}},
	{"start/anywhere", "It starts in a folder that it cannot write to.", func(ctx context.Context, k *kit) error {
		dir := filepath.Join(k.tmp, "readonly")
		if st, err := os.Stat("/proc"); err == nil && st.IsDir() {
			return k.startsIn(ctx, place{cookie: true, dir: "/proc"}) // not even root writes there
		}
		if err := os.MkdirAll(dir, 0o555); err != nil {
			return err
		}
		return k.startsIn(ctx, place{cookie: true, dir: dir})
	}},
	{"start/clean", "Its start writes nothing into its working folder.", func(ctx context.Context, k *kit) error {
		p, err := k.process(ctx)
		if err != nil {
			return err
		}
		return nothingIn(p.dir)
	}},
	{"start/quick", "It is there within ten seconds.", func(ctx context.Context, k *kit) error {
		began := time.Now()
		if err := k.startsIn(ctx, place{cookie: true}); err != nil {
			return err
		}
		if took := time.Since(began); took > 10*time.Second {
			return fmt.Errorf("it took %s: load what is heavy with the first call that needs it", took.Round(time.Millisecond))
		}
		return nil
	}},
}

// startsIn starts another process and has it answer.
func (k *kit) startsIn(ctx context.Context, at place) error {
	p, err := k.start(ctx, at)
	if err != nil {
		return err
	}
	defer p.kill()
	c, cancel := context.WithTimeout(ctx, k.o.Patience)
	defer cancel()
	if _, err := p.plugin.Describe(c, &pluginv1.DescribeRequest{}); err != nil {
		return fmt.Errorf("it starts and does not answer: %w%s", err, p.words())
	}
	return nil
}

func nothingIn(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("there is %q now", entries[0].Name())
	}
	return nil
}

// strangers connects without a certificate.
func strangers(ctx context.Context, k *kit) error {
	p, err := k.process(ctx)
	if err != nil {
		return err
	}
	target := p.handshake.address
	if p.handshake.network == "unix" {
		target = "unix://" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	c, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := pluginv1.NewPluginClient(conn).Describe(c, &pluginv1.DescribeRequest{}); err == nil {
		return errors.New("it answered a stranger")
	}
	return nil
}

func byHand(ctx context.Context, k *kit) error {
	p, err := k.start(ctx, place{})
	if err != nil {
		return err
	}
	defer p.kill()
	if !p.wait(10 * time.Second) {
		return errors.New("it waits for ever: check the cookie first")
	}
	switch {
	case p.err == nil:
		return errors.New("it ended with exit code 0")
	case p.stderr.last(1) == "":
		return errors.New("it says nothing on stderr")
	}
	return nil
}
