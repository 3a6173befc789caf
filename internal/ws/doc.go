// Package ws is the server side of WebSocket (RFC 6455) for connections that are many and mostly silent: while one waits it holds
// no buffer, and its goroutine can wait where its stack is small.
//
// The path of a message:
//
//  1. Upgrade (upgrade.go, the goroutine of the HTTP request) answers the handshake and takes the connection over. The handler
//     should return then and let a goroutine of its own serve the connection: net/http's has grown a large stack.
//  2. Conn.Read (conn.go, one goroutine) takes what has come through TLS into a pooled buffer, feeds it to the parser (parse.go) and gives
//     a whole message, or ErrAgain when there is none yet. Pings are answered on the way.
//  3. After ErrAgain the caller waits in Conn.Wait. That is a read of the socket below TLS (socket.go), which takes a pooled buffer only once
//     there is something to read. Sockets become Sockets where they are accepted (internal/httpd).
//  4. AppendFrame and Conn.Write send: frames are put into one buffer by the caller, and any goroutine may write it.
//
// Extensions are not negotiated: compression costs memory for each connection.
package ws
