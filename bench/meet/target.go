package meet

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// Loopback returns an error unless every address of the URL's host is on this machine's loopback: load tools must not hit others by a
// slip of the keyboard.
func Loopback(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("meet: target: %w", err)
	}
	host := u.Hostname()
	if host == "" {
		return fmt.Errorf("meet: target %q has no host", raw)
	}
	if ip := net.ParseIP(host); ip != nil {
		if ip.IsLoopback() {
			return nil
		}
		return fmt.Errorf("meet: %s is not a loopback address", host)
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return fmt.Errorf("meet: target: %w", err)
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return fmt.Errorf("meet: %s is %v, which is not a loopback address", host, ip)
		}
	}
	return nil
}

func httpClient(insecure bool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}}} // test servers have self-signed certificates
}
