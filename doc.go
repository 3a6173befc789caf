// Konzil is a whole conferencing and chat service in one program: XMPP server, Jitsi-compatible focus, SFU and TURN server.
//
// Package main knows all rooms and is known by none: it reads the settings, builds the rooms in order, hands each what it needs of the others, and stops
// them in reverse. Each file is one concern; what rooms do is in their folders (docs/architecture.md).
//
// The path of a start:
//
//  1. main.go runs the command: serve, bridge, check, config, user, ldap, bench, doap, version.
//  2. config.go reads the settings over defaults, configcheck.go says what cannot work (ports: configports.go). Parts of the settings are beside what they set.
//  3. serve.go opens the rooms one after another: read it first. Its steps, where they are not in it: certificate.go, ice.go (TURN and what clients are told of
//     it), features.go, federation.go, bridges.go, meetings.go, http.go, command.go.
//  4. The goroutines that go on beside the rooms: directory.go, certificate.go, retention.go, serverinfo.go, memory.go.
//
// Messaging, on top of xmpp:
//
//   - features.go: the features in their order; about.go, admin.go (administration by clients), invitations.go, invitepage.go, logins.go (when somebody was here last),
//     ping.go, serverinfo.go
//   - accounts.go: what is kept of an account, so that nothing survives it; directory.go: what the directory says of people
//   - sharing.go: uploads and the file proxy; components.go: programs that serve domains; federation.go: other servers
//
// Meetings, on top of xmpp/muc, signaling and sfu:
//
//   - meetings.go: rooms, and the components of meetings; identity.go: tokens, tenants and who may what; services.go: recorders and telephone gateways
//   - visitors.go: visitors of large meetings
//   - bridges.go: our bridge, and those elsewhere; bridgealone.go: `konzil bridge`; bridgeload.go: how busy it is
//   - integrations.go: web hooks and the REST interface; statistics.go: figures in the words of Jitsi's bridge
//
// For operators: http.go (routes, debugging), metrics.go, wellknown.go, command.go (commands to the running server), user.go, portable.go (import and export),
// checkup.go (`konzil check`), retention.go.
package main
