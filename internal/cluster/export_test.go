package cluster

// InnerAddresses are those of every service but the frontend.
func InnerAddresses(s *Server) map[string]string {
	addresses := map[string]string{}
	for name, p := range s.ports {
		if name != serviceFrontend {
			addresses[name] = p.reachable()
		}
	}
	return addresses
}

// ReleasePorts lets go of the ports before Run does.
func ReleasePorts(s *Server) error { return releaseAll(s.ports) }

// SQLite stamp, for tests that write another.
const StampFormat = stampFormat

// VisibilityVersion is the visibility schema's, as this server needs it.
var VisibilityVersion = visibilitySchema.version
