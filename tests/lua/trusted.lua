-- Stands in for the C modules of trusted code (portreeve.sys, .http, .engine, .token), so that hub and ui run under plain
-- lua5.4 with real SQLite. Time stands still unless a test moves it. Use: dofile(folder .. "trusted.lua").install{…}
local trusted = {}

local function bytes_of(n)
  return string.pack(">I4", n & 0xffffffff)
end

-- FIPS 180-4, checked in web_spec.lua against its test vector.
local function sha256(text)
  local k, primes, n = {}, {}, 2
  while #primes < 64 do
    local prime = true
    for _, p in ipairs(primes) do
      prime = prime and n % p ~= 0
    end
    primes[#primes + 1] = prime and n or nil
    n = n + 1
  end
  local function frac(x) return math.floor((x - math.floor(x)) * 2 ^ 32) end
  local h = {}
  for i = 1, 64 do
    k[i] = frac(primes[i] ^ (1 / 3))
    h[i] = i <= 8 and frac(primes[i] ^ 0.5) or nil
  end
  local function rot(x, c) return ((x >> c) | (x << (32 - c))) & 0xffffffff end
  local padded = text .. "\128" .. ("\0"):rep((55 - #text) % 64) .. string.pack(">I8", #text * 8)
  for block = 1, #padded, 64 do
    local w = { string.unpack((">" .. ("I4"):rep(16)), padded, block) }
    for i = 17, 64 do
      local a, b = w[i - 15], w[i - 2]
      w[i] = (w[i - 16] + (rot(a, 7) ~ rot(a, 18) ~ (a >> 3)) + w[i - 7] + (rot(b, 17) ~ rot(b, 19) ~ (b >> 10))) & 0xffffffff
    end
    local a, b, c, d, e, f, g, hh = table.unpack(h)
    for i = 1, 64 do
      local t1 = hh + (rot(e, 6) ~ rot(e, 11) ~ rot(e, 25)) + ((e & f) ~ (~e & g)) + k[i] + w[i]
      local t2 = (rot(a, 2) ~ rot(a, 13) ~ rot(a, 22)) + ((a & b) ~ (a & c) ~ (b & c))
      hh, g, f, e, d, c, b, a = g, f, e, (d + t1) & 0xffffffff, c, b, a, (t1 + t2) & 0xffffffff
    end
    for i, v in ipairs { a, b, c, d, e, f, g, hh } do
      h[i] = (h[i] + v) & 0xffffffff
    end
  end
  local out = {}
  for i = 1, 8 do
    out[i] = bytes_of(h[i])
  end
  return table.concat(out)
end

local function command(line)
  local pipe = assert(io.popen(line))
  local text = pipe:read("a")
  return pipe:close() and (text:gsub("\n$", "")) or nil
end

local function make_sys(world)
  local sys = { sha256 = sha256 }
  function sys.random(n)
    local file = assert(io.open("/dev/urandom", "rb"))
    local out = file:read(n)
    file:close()
    return out
  end
  function sys.hash_password(text)
    world.hashes = world.hashes + 1
    return "$fake$" .. text
  end
  function sys.verify_password(text, hash)
    world.hashes = world.hashes + 1
    return hash == "$fake$" .. text
  end
  function sys.library(name)
    local file, why = io.open(package.searchpath("portreeve.sim", package.path):match("^(.*)portreeve/sim.lua$") .. name, "rb")
    local out = file and file:read("a")
    if file then file:close() end
    return out, why
  end
  function sys.equal(a, b) return a == b end
  function sys.now_ms() return world.now end
  function sys.mono_ms() return world.mono end
  function sys.boot_id() return world.boot end
  function sys.log(level, area, message)
    world.log[#world.log + 1] = level .. " " .. area .. ": " .. message
  end
  function sys.sleep(ms)
    world.slept = world.slept + ms
    world.mono, world.now = world.mono + ms, world.now + ms
  end
  function sys.create_file(path, text)
    local there = io.open(path, "rb")
    if there then
      there:close()
      return true
    end
    local file, why = io.open(path, "wb")
    if not file then
      return nil, why
    end
    file:write(text)
    file:close()
    return true
  end
  function sys.remove_file(path) return os.remove(path) end
  function sys.can_open(path) -- no other connection is open in this process
    local f, why = io.open(path, "a+b")
    return f and f:close(), why
  end
  function sys.file_id(path) return command("stat -c %d:%i '" .. path .. "' 2>/dev/null") end
  function sys.make_dir(path) return os.execute("mkdir -p '" .. path .. "' 2>/dev/null") end
  return sys
end

-- -> world {state, now, mono, boot, log, status, call, …}; every portreeve module is loaded anew.
function trusted.install(spec)
  local world = {
    state = command("mktemp -d /tmp/portreeve-spec-XXXXXX"), now = 1700000000000, mono = 5000000, boot = "boot-1", log = {}, slept = 0,
    sealed = {}, hashes = 0, status = spec and spec.status or {}, calls = {},
  }
  for name in pairs(package.loaded) do
    if name:match("^portreeve%.") then
      package.loaded[name] = nil
    end
  end
  require("portreeve.sim").install()
  package.loaded["portreeve.sys"] = make_sys(world)
  package.loaded["portreeve.net"] = { reachable = function(host, port) return nil, host .. " port " .. port .. ": nobody there" end }
  package.loaded["portreeve.http"] = { call = function(rq)
    world.calls[#world.calls + 1] = rq
    return world.call(rq)
  end }
  package.loaded["portreeve.token"] = { seal = function(t)
    world.sealed[#world.sealed + 1] = t
    return "TOKEN" .. #world.sealed
  end }
  package.loaded["portreeve.engine"] = {
    state_dir = world.state,
    status = function() return world.status end,
    reload = function() return world.reload() end,
  }
  function world.finish()
    os.execute("rm -rf '" .. world.state .. "'")
  end
  function world.logged(pattern)
    for _, line in ipairs(world.log) do
      if line:find(pattern) then
        return line
      end
    end
  end
  return world
end

trusted.sha256 = sha256
trusted.command = command

-- A request as the engine makes it; over = fields to replace.
function trusted.request(method, target, over)
  local path, query = target:match("^([^?]*)%??(.*)$")
  local req = { method = method, path = path, query = query ~= "" and query or nil, headers = {}, body = "", address = "127.0.0.1",
    listener = "http", secure = "none", host = "localhost:8080", local_port = 8080 }
  for k, v in pairs(over or {}) do
    req[k] = v
  end
  return req
end

-- A browser of one: keeps the cookie, posts forms, follows nothing. handlers: { ["/hub"] = handler, … }
function trusted.browser(handlers, base)
  local self = { cookie = nil, base = base or {} }
  local function send(req)
    req.headers.cookie = self.cookie
    local prefix = req.path:match("^(/%w+)")
    local answer = handlers[prefix](req)
    local set = answer.headers["Set-Cookie"]
    if set then
      self.cookie = set:match("^([^;]*)")
    end
    return answer
  end
  function self.get(target, over)
    local req = trusted.request("GET", target, self.base)
    for k, v in pairs(over or {}) do
      req[k] = v
    end
    return send(req)
  end
  function self.post(target, fields, headers)
    local form = require "portreeve.web.form"
    local req = trusted.request("POST", target, self.base)
    req.body = form.query(fields):sub(2)
    req.headers = { ["content-type"] = "application/x-www-form-urlencoded", ["sec-fetch-site"] = "same-origin" }
    for k, v in pairs(headers or {}) do
      req.headers[k] = v ~= "" and v or nil
    end
    return send(req)
  end
  function self.csrf(target)
    return self.get(target).body:match('name="csrf"[^>]*value="(%x+)"')
  end
  return self
end

-- What every page of the hub begins with: its first account, made with the set-up link of this state folder, and logged in.
function trusted.log_in(world, browser)
  local password = "correct horse battery"
  local file = assert(io.open(world.state .. "/keys/setup.token"))
  browser.post("/hub/setup", { token = file:read("l"), account = "ada", password = password, again = password })
  file:close()
  browser.post("/hub/login", { account = "ada", password = password })
end

return trusted
