// Package report shows a measure.Report to people: as text for a terminal (text.go), and as one HTML page without outside resources
// (html.go) that can be sent to a colleague.
package report
