// Package e2e has no code of its own: its tests start the built konzil program and drive its meeting page in headless Chromium, with
// the browser's fake camera and microphone, over loopback.
//
//	main_test.go     builds the binary once, finds Chromium, starts and ends the browser
//	server_test.go   one konzil process per test: free ports, its own data folder, SIGTERM at the end
//	browser_test.go  people: one browser context each, and what they do on the page
//	meeting_test.go  what is shown: two and three people, layers, screen, leaving, reloading, chat, hands, trouble
//	features_test.go what participants and moderators can do: lobby, password, moderation, chat, polls, breakout rooms, ...
//	relay_test.go    the same over TURN
//	strophe_test.go  web clients of others, from pages of another origin: the Strophe library,
//	converse_test.go and Converse with its login form and its chats on screen
//	page_test.go     the page without a server: WebRTC against itself, screenshots
//
// Screenshots go to artifacts/ at the root of the repository, or to $KONZIL_ARTIFACTS.
package e2e
