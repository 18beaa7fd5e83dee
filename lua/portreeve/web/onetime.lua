--- One-time links: the set-up link (first start, makes the first administrator) and the login link (`portreeve login-link`, loopback
-- only). Each is a file under STATE/keys, 0600, of two lines: the token (set-up) or its SHA-256 in hex (login), and the unix ms it
-- ends at. Using a link removes its file; whoever removes it has used it, so a link works once.
local static = require "portreeve.web.static"
local sys = require "portreeve.sys"
local io_open, tonumber = io.open, tonumber
local _ENV = nil

local SETUP_MS = 24 * 3600 * 1000
local LOGIN_MS = 15 * 60 * 1000

local function read(path)
  local file = io_open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read(4096) or ""
  file:close()
  local word, ends = text:match("^(%x+)\n(%d+)\n")
  return word, tonumber(ends)
end

-- A valid token in the file, made where it is missing or over. -> token, ends_ms | nil, why
local function ensure(keys, name, ms, form)
  local path = keys .. "/" .. name
  local word, ends = read(path)
  if word and ends > sys.now_ms() then
    return word, ends
  end
  sys.remove_file(path)
  local token = static.hex(sys.random(16))
  local ok, why = sys.create_file(path, form(token) .. "\n" .. ("%d"):format(sys.now_ms() + ms) .. "\n")
  if not ok then
    return nil, why
  end
  word, ends = read(path)
  if not word then
    return nil, path .. ": cannot be read back"
  end
  return word, ends, token
end

local function setup_token(keys)
  return ensure(keys, "setup.token", SETUP_MS, function(token) return token end)
end

-- A new login token each time; an older link ends. -> token | nil, why
local function login_token(keys)
  sys.remove_file(keys .. "/login.token")
  local word, ends, token = ensure(keys, "login.token", LOGIN_MS, function(t) return static.hex(sys.sha256("login:" .. t)) end)
  if not word then
    return nil, ends
  end
  return token or nil, "another login-link was made at the same moment: try again"
end

local function matches(keys, name, given, form)
  local word, ends = read(keys .. "/" .. name)
  return word ~= nil and given ~= nil and #given <= 64 and ends > sys.now_ms() and sys.equal(word, form(given))
end

local function setup_valid(keys, given)
  return matches(keys, "setup.token", given, function(t) return t end)
end

local function login_valid(keys, given)
  return matches(keys, "login.token", given, function(t) return static.hex(sys.sha256("login:" .. t)) end)
end

local function spend(keys, name)
  return sys.remove_file(keys .. "/" .. name)
end

return { setup_token = setup_token, setup_valid = setup_valid, login_token = login_token, login_valid = login_valid, spend = spend }
