package sasl

import (
	"context"
	"slices"
)

// External is EXTERNAL (RFC 4422 appendix A): TLS has shown who it is.
type External struct {
	Names []string // bare addresses that the client's certificate is for

	id Identity
}

// Step takes the authorization identity, which may only be left out when there is one name (XEP-0178 §2).
func (e *External) Step(_ context.Context, response []byte) ([]byte, bool, error) {
	authzid := string(response)
	switch {
	case authzid == "" && len(e.Names) == 1:
		authzid = e.Names[0]
	case authzid == "":
		return nil, false, &Failure{Condition: "invalid-authzid", Text: "the certificate is for several addresses: say which"}
	case !slices.Contains(e.Names, authzid):
		return nil, false, &Failure{Condition: "invalid-authzid", Text: "the certificate is not for that address"}
	}
	e.id = Identity{User: authzid, Authzid: authzid}
	return nil, true, nil
}

// Identity is who logged in.
func (e *External) Identity() Identity { return e.id }

// Name is the name tried.
func (e *External) Name() string { return e.id.User }
