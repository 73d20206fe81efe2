package plugintest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// process is a plugin's process and the connection to it. It is a second implementation of the host's side, without
// go-plugin: what a plugin relies on beyond the protocol shows here.
type process struct {
	cmd       *exec.Cmd
	dir       string // working folder; sockets and temporary files lie beside it
	handshake handshake
	noise     []string // lines on stdout before the handshake
	stderr    *tail
	conn      *grpc.ClientConn
	plugin    pluginv1.PluginClient
	runtime   pluginv1.RuntimeClient
	exited    chan struct{}
	err       error // of Wait
}

// handshake is the line that a plugin prints: 1|1|unix|ADDRESS|grpc|CERTIFICATE.
type handshake struct {
	core, protocol         int
	network, address, kind string
	certificate            []byte // DER; nil without one
}

func parseHandshake(line string) (h handshake, err error) {
	parts := strings.Split(strings.TrimSpace(line), "|")
	if len(parts) < 5 {
		return h, fmt.Errorf("%q is no handshake: it has the form 1|1|unix|ADDRESS|grpc|CERTIFICATE", clip(line))
	}
	if h.core, err = strconv.Atoi(parts[0]); err != nil {
		return h, fmt.Errorf("%q does not begin with a number", clip(line))
	}
	if h.protocol, err = strconv.Atoi(parts[1]); err != nil {
		return h, fmt.Errorf("the protocol version in %q is no number", clip(line))
	}
	h.network, h.address, h.kind = parts[2], parts[3], parts[4]
	if len(parts) > 5 && parts[5] != "" {
		if h.certificate, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[5], "=")); err != nil {
			return h, fmt.Errorf("the certificate in the handshake is not base64: %w", err)
		}
	}
	return h, nil
}

func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}

// tail keeps the last lines that a plugin wrote to stderr.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p)
	if t.b.Len() > 1<<16 {
		t.b.Next(t.b.Len() - 1<<15)
	}
	return len(p), nil
}

func (t *tail) last(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(t.b.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// place is how a process is started.
type place struct {
	dir    string   // working folder; empty makes one
	env    []string // beside the least that every plugin gets
	cookie bool
	bare   bool // no variables but the cookie's and PATH
	child  bool // of a shell, which can be killed in its stead
}

// start starts the plugin and waits for its handshake.
func (k *kit) start(ctx context.Context, at place) (*process, error) {
	p := &process{dir: at.dir, stderr: &tail{}, exited: make(chan struct{})}
	work, err := os.MkdirTemp(k.tmp, "p")
	if err != nil {
		return nil, err
	}
	if p.dir == "" {
		p.dir = filepath.Join(work, "work")
		if err := os.Mkdir(p.dir, 0o755); err != nil {
			return nil, err
		}
	}
	cert, key, err := certificate()
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(k.command[0], k.command[1:]...)
	if at.child {
		p.cmd = exec.Command("sh", append([]string{"-c", `"$0" "$@" & wait`}, k.command...)...)
	}
	p.cmd.Dir, p.cmd.Stderr = p.dir, p.stderr
	p.cmd.Env = append(p.cmd.Env, "PATH="+os.Getenv("PATH"))
	if !at.bare {
		p.cmd.Env = append(p.cmd.Env, "HOME="+work, "TMPDIR="+work, "LANG=C.UTF-8", pluginv1.HostPIDVariable+"="+strconv.Itoa(os.Getpid()))
		for _, name := range []string{"LD_LIBRARY_PATH", "OPTIMIZE_DATA", "OPTIMIZE_ONNXRUNTIME", "OPTIMIZE_ONNXRUNTIME_VERSION", "OPTIMIZE_OPENVINO", "XDG_DATA_HOME", "SystemRoot", "TEMP"} {
			if v, ok := os.LookupEnv(name); ok {
				p.cmd.Env = append(p.cmd.Env, name+"="+v)
			}
		}
	}
	if at.cookie {
		p.cmd.Env = append(p.cmd.Env, pluginv1.MagicCookieKey+"="+pluginv1.MagicCookieVal,
			"PLUGIN_PROTOCOL_VERSIONS="+strconv.Itoa(pluginv1.ProtocolVersion), "PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000",
			"PLUGIN_CLIENT_CERT="+string(cert), "PLUGIN_UNIX_SOCKET_DIR="+work)
	}
	p.cmd.Env = append(append(p.cmd.Env, k.o.Env...), at.env...)
	p.cmd.WaitDelay = 500 * time.Millisecond // for a child that holds stderr
	ownGroup(p.cmd)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("it cannot be started: %w", err)
	}
	lines := make(chan string)
	go func() {
		r := bufio.NewReader(stdout)
		for {
			line, err := r.ReadString('\n')
			if line != "" {
				select {
				case lines <- line:
				case <-p.exited:
				}
			}
			if err != nil {
				close(lines)
				_, _ = io.Copy(io.Discard, stdout)
				return
			}
		}
	}()
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if !at.cookie {
		return p, nil
	}
	if err := p.greet(ctx, k, lines); err != nil {
		p.kill()
		return nil, err
	}
	if err := p.connect(cert, key); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// greet waits for the handshake.
func (p *process) greet(ctx context.Context, k *kit, lines <-chan string) error {
	limit := time.After(k.o.Patience)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return fmt.Errorf("it ended before its handshake%s", p.words())
			}
			h, err := parseHandshake(line)
			if err != nil {
				p.noise = append(p.noise, strings.TrimSpace(line))
				continue
			}
			p.handshake = h
			go func() { // what it prints later must not block it
				for range lines {
				}
			}()
			return nil
		case <-limit:
			return fmt.Errorf("no handshake within %s%s", k.o.Patience, p.words())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// words are the plugin's last lines, for a message.
func (p *process) words() string {
	if s := p.stderr.last(5); s != "" {
		return "; its last lines:\n" + s
	}
	return ""
}

func (p *process) connect(certPEM, keyPEM []byte) error {
	creds := insecure.NewCredentials()
	if p.handshake.certificate != nil {
		server, err := x509.ParseCertificate(p.handshake.certificate)
		if err != nil {
			return fmt.Errorf("the certificate in the handshake cannot be read: %w", err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(server)
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return err
		}
		creds = credentials.NewTLS(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	}
	target := p.handshake.address
	if p.handshake.network == "unix" {
		target = "unix://" + target
	}
	var err error
	p.conn, err = grpc.NewClient(target, grpc.WithTransportCredentials(creds), grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginv1.MaxWireMessage)))
	if err != nil {
		return err
	}
	p.plugin, p.runtime = pluginv1.NewPluginClient(p.conn), pluginv1.NewRuntimeClient(p.conn)
	return nil
}

// alive tells whether the process is there.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// wait tells whether the process ended in time.
func (p *process) wait(d time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(d):
		return false
	}
}

func (p *process) kill() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
	killGroup(p.cmd)
	p.wait(5 * time.Second)
}

// certificate makes a certificate of our own for the mutual TLS of go-plugin ("AutoMTLS").
func certificate() (cert, key []byte, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost", Organization: []string{"plugintest"}}, DNSNames: []string{"localhost"},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageCertSign,
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, priv.Public(), priv)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalECPrivateKey(priv)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}), nil
}
