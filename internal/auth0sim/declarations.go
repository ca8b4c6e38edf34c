package auth0sim

import "maps"

// handlers collects everything that is declared, by "METHOD pattern".
func (s *Server) handlers() map[string]handler {
	out := map[string]handler{}
	for _, group := range []struct {
		families   []*family
		singletons []*singleton
		handlers   map[string]handler
	}{
		{tenantFamilies(), tenantSingletons(), tenantHandlers()},
		{clientFamilies(), nil, clientHandlers()},
		{connectionFamilies(), nil, connectionHandlers()},
		{accessFamilies(), nil, accessHandlers()},
		{userFamilies(), nil, userHandlers()},
		{organizationFamilies(), nil, organizationHandlers()},
		{actionFamilies(), nil, actionHandlers()},
		{guardianFamilies(), guardianSingletons(), guardianHandlers()},
		{brandingFamilies(), brandingSingletons(), brandingHandlers()},
		{eventFamilies(), nil, eventHandlers()},
		{documentFamilies(), documentSingletons(), documentHandlers()},
		{experimentFamilies(), nil, experimentHandlers()},
		{groupFamilies(), nil, groupHandlers()},
		{nil, nil, jobHandlers()},
	} {
		for _, f := range group.families {
			maps.Copy(out, f.routes())
		}
		for _, one := range group.singletons {
			maps.Copy(out, one.routes())
		}
		// Hand-written handlers last: one may replace a family's.
		maps.Copy(out, group.handlers)
	}
	return out
}
