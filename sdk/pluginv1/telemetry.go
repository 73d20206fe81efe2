package pluginv1

// SpanStart begins the name of the span that covers a plugin's start, before the plugin's name.
const SpanStart = "start plugin "
