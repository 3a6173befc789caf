// Package bridge is the colibri.Bridge on the sfu of this process, with the clients' bridge channel.
//
//	engine.go       the sfu as interfaces; sfu.go is the real one
//	bridge.go       Bridge.Modify: COLIBRI2 terms become sfu calls, on the focus' worker
//	convert.go      codecs, sources, transports between jingle and sfu terms (pure)
//	conference.go   one goroutine per conference takes the sfu's events and the clients' messages in order, from its queue (queue.go)
//	events.go       sfu.Events: everything is queued for that goroutine, and told to clients there
//	messages.go     what clients say: constraints, relayed messages
//	receiver.go     what a receiver wants of video, as its messages add up (pure)
//	relay.go        other bridges of the same conference
//	expire.go       what a focus elsewhere has forgotten
//	websocket.go    the channel over /colibri-ws, for clients without SCTP
package bridge
