--- What stands before every page: security headers, where a request came from, which cookie carries the session.
local address = require "portreeve.web.address"
local form = require "portreeve.web.form"
local static = require "portreeve.web.static"
local sys = require "portreeve.sys"
local pairs = pairs
local _ENV = nil

local function secure(req)
  return req.secure == "own" or req.secure == "external"
end

-- Clear text is good enough only where it does not leave the machine.
local function may_log_in(req)
  return secure(req) or address.is_loopback(req.address)
end

local function cookie_name(req)
  return secure(req) and "__Host-portreeve" or "portreeve"
end

local function session_token(req)
  return form.cookie(req, cookie_name(req))
end

local function session_cookie(req, token)
  return form.set_cookie { name = cookie_name(req), value = token or "", secure = secure(req), max_age = not token and 0 or nil }
end

-- Bound to the session, so nothing has to be stored: who does not know the session's token cannot make it.
local function csrf_of(token)
  return static.hex(sys.sha256("csrf:" .. token)):sub(1, 32)
end

-- Did one of our own pages send this? Browsers say so in Sec-Fetch-Site, older ones in Origin; a client that sends neither is no
-- browser, and a browser's cookies cannot have been abused through it.
local function same_site(req)
  local site = req.headers["sec-fetch-site"]
  if site and site ~= "same-origin" and site ~= "none" then
    return false
  end
  local origin = req.headers.origin
  if origin then
    local scheme = secure(req) and "https" or "http"
    return origin:lower() == scheme .. "://" .. (req.host or ""):lower()
  end
  return true
end

local page_headers = {
  ["Content-Type"] = "text/html; charset=utf-8",
  ["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
  ["X-Content-Type-Options"] = "nosniff",
  ["X-Frame-Options"] = "DENY",
  ["Referrer-Policy"] = "same-origin",
  ["Cache-Control"] = "no-store",
  ["Cross-Origin-Opener-Policy"] = "same-origin",
  ["Cross-Origin-Resource-Policy"] = "same-origin",
}

local function headers(req, more)
  local out = {}
  for k, v in pairs(page_headers) do
    out[k] = v
  end
  if secure(req) then
    out["Strict-Transport-Security"] = "max-age=31536000"
  end
  for k, v in pairs(more or {}) do
    out[k] = v
  end
  return out
end

return {
  secure = secure,
  may_log_in = may_log_in,
  session_token = session_token,
  session_cookie = session_cookie,
  csrf_of = csrf_of,
  same_site = same_site,
  headers = headers,
}
