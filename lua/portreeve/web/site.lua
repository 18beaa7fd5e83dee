--- A component's pages as one function from request to response: routing, session, CSRF, headers, faults.
--
--   site.new{ name = "hub", title = "Hub", prefix = "/hub", state = DIR, version = function() … end, accounts = store, routes = { {"GET",
-- "/x", f} … },
--             nav = { {label=, href=, here=function(c)} … }, done = { key = "text shown after a POST that redirected" } }
-- A route is {method, pattern, function(c, capture …) -> response, open = true|nil, most = bounds of its form|nil}; patterns are Lua's,
-- anchored, below the prefix.
-- c: req, query, form (POST), account, role, token, csrf, accounts, site, now, page(spec, status, headers), redirect(to, headers),
-- problem(status, title, text), unavailable(why), asset(name).
local form = require "portreeve.web.form"
local guard = require "portreeve.web.guard"
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local login = require "portreeve.web.login"
local static = require "portreeve.web.static"
local sys = require "portreeve.sys"
local ipairs, pcall, table_concat, table_pack, table_unpack, tostring =
  ipairs, pcall, table.concat, table.pack, table.unpack, tostring
local h = html.tag
local _ENV = nil

local done_always = { account = "The account has been created. Log in with it." }

-- Asked for late: while a handler is made there is no generation to ask yet.
local function version_of(site)
  local ok, version = pcall(site.version)
  return ok and version or nil
end

local function context(site, req)
  local c = { req = req, site = site, accounts = site.accounts, now = sys.now_ms(), query = form.parse(req.query) or {},
    version = version_of(site) }
  function c.asset(name)
    return static.address(site.files, site.prefix, name)
  end
  function c.page(spec, status, headers)
    local text = done_always[c.query.done or ""] or (site.done or {})[c.query.done or ""]
    c.note = text and layout.note("good", h.p { text }) or nil
    return { status = status or 200, headers = guard.headers(req, headers), body = layout.page(c, spec) }
  end
  function c.redirect(to, headers)
    local out = guard.headers(req, headers)
    out.Location = to
    return { status = 303, headers = out, body = "" }
  end
  function c.problem(status, title, text, headers)
    return c.page({ title = title, narrow = true, body = h.section { class = "card sheet", h.h1 { title }, h.p { class = "lead", text },
      h.p { h.a { href = site.prefix .. "/", "Back to the start page" } } } }, status, headers)
  end
  function c.unavailable(why)
    sys.log("error", site.name, "page " .. tostring(req.path) .. ": " .. tostring(why))
    return c.problem(503, "Not available right now", "The database of this component does not answer, or the machine is busy. "
      .. "The log says why. Tracking goes on without it. Try again in a moment.", { ["Retry-After"] = "5" })
  end
  return c
end

local function find_route(site, method, path)
  local allowed = {}
  for _, list in ipairs { site.routes, login.routes } do
    for _, r in ipairs(list) do
      local found = table_pack(path:match("^" .. r[2] .. "$"))
      if found[1] then
        if r[1] == method then
          return r, r[2]:find("(", 1, true) and found or { n = 0 }
        end
        allowed[r[1]] = true
      end
    end
  end
  if allowed.GET then
    allowed.HEAD = true
  end
  local names = {}
  for _, name in ipairs { "GET", "HEAD", "POST" } do
    names[#names + 1] = allowed[name] and name or nil
  end
  return nil, #names > 0 and table_concat(names, ", ") or nil
end

local function load_session(c)
  local token = guard.session_token(c.req)
  local session, why = c.accounts:session(token)
  if session == nil then
    return nil, why
  end
  if session then
    c.account, c.role, c.token, c.csrf = session.account, session.role, token, guard.csrf_of(token)
  end
  return true
end

-- Forged, cross-site and unreadable POSTs end here. -> refusal | nil
local function check_post(c, route)
  if not guard.same_site(c.req) then
    return c.problem(403, "Refused", "This form was not sent by one of these pages.")
  end
  local fields, why = form.of_request(c.req, route.most)
  if not fields then
    return c.problem(400, "Not understood", why)
  end
  c.form = fields
  if not route.open and not sys.equal(fields.csrf or "", c.csrf) then
    return c.problem(403, "Refused", "The page this form came from is too old. Open it again and repeat.")
  end
end

local function answer(site, req, path)
  site.accounts.db:ensure() -- a removed file is noticed here; a fault shows on the page that needs the data
  local c = context(site, req)
  local method = req.method == "HEAD" and "GET" or req.method
  local route, captures = find_route(site, method, path)
  if not route then
    if captures then
      return c.problem(405, "Method not allowed", "This address takes " .. captures .. ".", { Allow = captures })
    end
    return c.problem(404, "Not found", "There is no page at this address.")
  end
  local ok, why = load_session(c)
  if not ok then
    return c.unavailable(why)
  end
  if c.account and site.seen then
    site.seen(req.address)
  end
  if not c.account and not route.open then
    if method == "GET" then
      local query = req.query and req.query ~= "" and "?" .. req.query or ""
      return c.redirect(site.prefix .. "/login" .. form.query { next = path ~= "/" and site.prefix .. path .. query or nil })
    end
    return c.problem(403, "Logged out", "Your session has ended. Log in and repeat what you did.")
  end
  if method == "POST" then
    local refusal = check_post(c, route)
    if refusal then
      return refusal
    end
  end
  return route[3](c, table_unpack(captures, 1, captures.n))
end

local function handle(site, req)
  if req.path == site.prefix then
    return { status = 308, headers = guard.headers(req, { Location = site.prefix .. "/" }), body = "" }
  end
  local path = req.path:sub(1, #site.prefix) == site.prefix and req.path:sub(#site.prefix + 1) or req.path
  local name = (req.method == "GET" or req.method == "HEAD") and path:match("^/static/([%w._-]+)$")
  return name and static.serve(site.files, name, req) or answer(site, req, path)
end

-- -> handler | nil, why
local function new(spec)
  local files, why = static.load { { "portreeve.web.static", "static/portreeve.css" }, { "portreeve.web.static", "static/mark.svg" } }
  if not files then
    return nil, why
  end
  spec.files = files
  return function(req)
    local ok, response = pcall(handle, spec, req)
    if ok then
      return response
    end
    sys.log("error", spec.name, "page " .. tostring(req.path) .. " failed: " .. tostring(response))
    return { status = 500, headers = guard.headers(req, { ["Content-Type"] = "text/plain; charset=utf-8" }),
      body = "This page failed; the log says why.\n" }
  end
end

return { new = new }
