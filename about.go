package main

import (
	"fmt"
	"strconv"
	"strings"

	"konzil/xmpp/ext"
	"konzil/xmpp/stanza"
)

// AboutConfig is what the operator tells everybody.
type AboutConfig struct {
	Abuse     []string `yaml:"abuse" doc:"Addresses to complain to about people of this server, as URIs: mailto:abuse@example.org, xmpp:abuse@example.org, https://..."`
	Admin     []string `yaml:"admin" doc:"Likewise of the operator."`
	Feedback  []string `yaml:"feedback" doc:"Likewise for opinions on the service."`
	Security  []string `yaml:"security" doc:"Likewise for holes in its security."`
	Status    []string `yaml:"status" doc:"Likewise where one learns how the service does."`
	Support   []string `yaml:"support" doc:"Likewise for help."`
	Outage    []string `yaml:"outage" doc:"URLs, on another machine, where clients read of an outage while this server cannot tell it (JSON of XEP-0455)."`
	Terms     string   `yaml:"terms" doc:"URI of the terms of service (XEP-0504)."`
	Retention string   `yaml:"data_retention" doc:"How long messages are kept, told to everybody (XEP-0504): hours, infinite or unknown. With infinite, retention.messages is told where that is set."`
	AtRest    bool     `yaml:"encrypted_at_rest" doc:"Tell everybody that the disk of the data folder is encrypted."`
	Info      bool     `yaml:"server_info" doc:"Tell everybody in a node of pubsub.domain how many servers this one is connected with, and which of them do the same (XEP-0485)."`
	ReportsTo []string `yaml:"reports_to" doc:"XMPP addresses that are written to when somebody blocks and reports an address (XEP-0377)."`
}

// about is that for disco.
func (s *server) about() ext.About {
	c := s.cfg.About
	contacts := map[string][]string{}
	for kind, uris := range map[string][]string{"abuse": c.Abuse, "admin": c.Admin, "feedback": c.Feedback, "security": c.Security, "status": c.Status, "support": c.Support} {
		if len(uris) > 0 {
			contacts[kind] = uris
		}
	}
	login, rest := "hidden", "false"
	if s.cfg.Auth.LDAP.Enabled() { // which gets the password
		login = "plain"
	}
	if c.AtRest {
		rest = "true"
	}
	kept := c.Retention
	if d := s.cfg.Retention.Messages; kept == "infinite" && d > 0 {
		kept = strconv.Itoa(int(d.Hours()))
	}
	policy := []ext.PolicyField{
		{Var: "auth_data", Type: "list-single", Values: []string{login}},
		{Var: "data_retention", Type: "text-single", Values: []string{kept}},
		{Var: "encryption_at_rest", Type: "boolean", Values: []string{rest}},
		{Var: "access_policy", Type: "list-multi", Values: []string{"admins"}},
	}
	if c.Terms != "" {
		policy = append(policy, ext.PolicyField{Var: "tos", Type: "text-single", Values: []string{c.Terms}})
	}
	a := ext.About{Contacts: contacts, Outage: c.Outage, Policy: policy}
	if c.Info {
		a.InfoNode = "xmpp:pubsub." + s.cfg.Domain + "?;node=" + infoNode
	}
	return a
}

// takeReports writes to those who look after complaints. The log has no text of people's.
func (s *server) takeReports() {
	from := stanza.MustJID(s.cfg.Domain)
	s.blocking.Reports(func(r ext.Report) {
		s.log.Info("somebody was reported", "about", r.About.String(), "reason", r.Reason, "messages", len(r.IDs))
		text := fmt.Sprintf("%s has blocked and reported %s: %s", r.By, r.About, r.Reason)
		if r.Text != "" {
			text += "\n" + r.Text
		}
		if len(r.IDs) > 0 {
			text += "\nmessages in the archive of " + r.By.String() + ": " + strings.Join(r.IDs, ", ")
		}
		for _, to := range s.cfg.About.ReportsTo {
			if j, err := stanza.ParseJID(to); err == nil { // checked by Config.check
				s.xmpp.Route(stanza.NewMessage("chat", from, j, stanza.TextElement(stanza.NSClient, "body", text)))
			}
		}
	})
}
