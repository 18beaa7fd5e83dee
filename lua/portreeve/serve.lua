-- One function of a request out of the operator's routes and the handlers that live on workers, so that a request enters Lua once.
-- serve(route, { tracker = function(req) -> response[, type, token, class, reasons, wait] })
--   -> function(req) -> service[, response[, type, token, class, reasons, wait]] | nil, status
local _ENV = nil

return function(route, handlers)
  return function(req)
    local service, status = route(req)
    local handler = handlers[service or ""]
    if not handler then return service, status end
    return service, handler(req)
  end
end
