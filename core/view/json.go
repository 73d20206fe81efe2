package view

import (
	"bytes"
	"encoding/json"
)

// json writes an event a line.
func (v *View) json() {
	for {
		<-v.queue.wake
		items, closed := v.queue.take()
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		for _, it := range items {
			if it.event.Type != "" {
				_ = e.Encode(it.event) // an event has nothing that cannot be encoded
			}
		}
		_, _ = v.o.Out.Write(b.Bytes()) // a reader that went away does not end the run
		if closed {
			return
		}
	}
}
