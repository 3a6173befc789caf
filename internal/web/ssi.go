package web

import (
	"path"
	"regexp"
	"strings"
)

// Server side includes, as far as a build of jitsi-meet uses them: nginx expands them in the stock stack.

// includeDepth bounds files that include each other.
const includeDepth = 4

var (
	includeTag = regexp.MustCompile(`<!--#\s*include\s+virtual="([^"]*)"\s*-->`)
	echoTag    = regexp.MustCompile(`<!--#\s*echo\s+var="([^"]*)"(?:\s+default="([^"]*)")?\s*-->`)
)

// expand replaces include and echo tags of text. read gives the text of a file ("": there is none), vars what echo may name.
func expand(text string, vars map[string]string, read func(name string) string) string {
	return expandDepth(text, vars, read, includeDepth)
}

func expandDepth(text string, vars map[string]string, read func(name string) string, depth int) string {
	if !strings.Contains(text, "<!--#") {
		return text
	}
	text = echoTag.ReplaceAllStringFunc(text, func(tag string) string {
		m := echoTag.FindStringSubmatch(tag)
		if v := vars[m[1]]; v != "" {
			return v
		}
		return m[2]
	})
	return includeTag.ReplaceAllStringFunc(text, func(tag string) string {
		if depth == 0 {
			return ""
		}
		name := strings.TrimPrefix(path.Clean("/"+includeTag.FindStringSubmatch(tag)[1]), "/")
		return expandDepth(read(name), vars, read, depth-1)
	})
}
