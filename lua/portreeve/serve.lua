-- One function of a request out of the operator's routes and the handlers that live on workers, so that a request enters Lua once.
-- serve(route, { tracker = function(req) -> response, event }) -> function(req) -> service, response, event | nil, status
local _ENV = nil

return function(route, handlers)
  return function(req)
    local service, status = route(req)
    local handler = handlers[service or ""]
    if handler then return service, handler(req) end
    return service, status
  end
end
