// Package auth answers for people's passwords: accounts in our own store, and accounts of an LDAP directory.
//
// The path of a login:
//
//  1. The XMPP server asks Mechanisms once and offers those (RFC 6120 §6.4.1).
//  2. SCRAM (local.go): SCRAM gives the stored keys of RFC 5802 §3; the exchange itself is the server's. A stranger's name gives
//     salts that are made up but stable.
//  3. PLAIN (local.go, ldap.go): CheckPassword takes the name and the password as typed, and gives the localpart. With a
//     directory, Combined (combined.go) asks the local accounts first, then the directory.
//  4. LDAP (ldap.go): take a connection of the bounded pool (pool.go), search the one entry with that login, bind as it with
//     the password.
//
// No clear-text password is kept. There is no goroutine of our own here; everything runs on the caller's, bounded by
// semaphores.
package auth
