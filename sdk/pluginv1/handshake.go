package pluginv1

// What host and plugin agree on before they speak gRPC. The cookie is no secret: it only tells a user who starts a
// plugin by hand that it is not meant to be started by hand.
const (
	// ProtocolVersion is raised for breaking changes alone; what is added travels as a capability.
	ProtocolVersion = 1
	MagicCookieKey  = "OPTIMIZE_PLUGIN"
	MagicCookieVal  = "optimize-plugin-protocol"
	// SetName is the one entry of the go-plugin plugin set: it registers the services Plugin and Runtime.
	SetName = "plugin"
	// HostPIDVariable holds the host's process id, by which a plugin sees that its host died before it connected.
	HostPIDVariable = "OPTIMIZE_HOST_PID"
	// ReattachVariable tells the host of plugins that run already, most often under a debugger: NAME=ADDRESS, several
	// parted by commas.
	ReattachVariable = "OPTIMIZE_REATTACH"
	// TokenHeader is the metadata under which a step sends HostEndpoint.token with each call of the service Host.
	TokenHeader = "optimize-token"
	// MaxMessage is the size in bytes that no message should reach: whatever is larger travels as a file.
	MaxMessage = 1 << 20
	// MaxWireMessage is what both sides accept in bytes, so that a message that is too large gets a clear error from us.
	MaxWireMessage = 16 << 20
)
