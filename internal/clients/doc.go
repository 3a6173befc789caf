// Package clients tests the server with the chat clients that people use: python3-slixmpp, profanity and Gajim's protocol library, as Debian packages them.
//
// The path of a test: main_test.go builds the binary once and starts it with its own data folder, certificate authority and
// ports (server_test.go); slixmpp_test.go steers testdata/chat.py through lines of JSON; profanity_test.go types into a terminal
// that tmux keeps; gajim_test.go runs testdata/gajim.py (nbxmpp); rfc_test.go speaks raw XML to see that wrong input is refused as the RFCs say.
// Every wait has a deadline and nothing sleeps for a fixed time. What is not installed is skipped with its name; `make deps`
// installs it.
package clients
