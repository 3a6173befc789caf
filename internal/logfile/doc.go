// Package logfile is where the log goes, and what keeps network addresses in it no longer than the operator wants: a log is read by more people,
// and copied to more places, than an address is needed for.
//
// The path of a line:
//
//  1. slog's handler formats it and calls Write once (the goroutine that logs).
//  2. A Shortener, for standard error, shortens each address at once (shorten.go): the host part goes, and the port.
//  3. A File (file.go) appends the line to the day's file, with whole addresses while Config.MaskAfter is set, else shortened at once.
//  4. Its own goroutine tends the files (tend.go): it begins a new one each day, shortens addresses in lines that have become old enough in
//     their place, and removes files that have been kept for long enough.
//
// An address is shortened to no more bytes than it had, and its line is filled up with blanks, so that a line is masked by one write where it stands:
// nothing is copied, a kill in between leaves a line as it was or as it shall be, and what is done again changes nothing.
package logfile
