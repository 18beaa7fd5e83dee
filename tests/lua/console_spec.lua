-- The console's Lua: evaluation, what it shows, JSON, completion. The sandbox names come from plain Lua here (C: tests/unit/console.c).
local cjson = require "cjson"

local function safe_environment()
  local env = {}
  for name in ("assert error ipairs math next pairs pcall select string table tonumber tostring type"):gmatch "%a+" do
    local v = _G[name]
    env[name] = v
    if type(v) == "table" then
      env[name] = {}
      for k, f in pairs(v) do
        env[name][k] = f
      end
    end
  end
  return env
end

local function listener(name, port, active)
  return { name = name, address = "0.0.0.0", port = port, scheme = "http", services = "tracker,ui", certificate = "", active = active,
    list = "", state = "accepting connections",
    because = { file = "conf/tomcat.ini", line = 12, entry = "Port", row = "R1", policy = "policies/bind.lua:41" } }
end

local function fake_engine(world)
  return {
    state_dir = "/var/lib/portreeve",
    status = function()
      return { version = "0.1.0", generation = 3.0, since_ms = 1.0e3, workers = 2.0, components = "tracker", listeners = world.listeners,
        security = { { name = "calls", state = "on", how = "seccomp" } }, last_reload = { ok = true, at_ms = 1.7e12, text = "" } }
    end,
    connections = function(n)
      world.asked = n
      return world.connections
    end,
    decisions = function(q)
      world.asked = q
      return { list = world.refusals, room = 100000.0, oldest_ms = world.oldest or 0.0 }
    end,
    lists = function(name)
      if not name then return { { name = "denied", lines = 3.0 } } end
      if name ~= "denied" then return nil end
      return { name = "denied", lines = 3.0, most = {}, most_more = 0.0, never = { { file = "d.list", line = 1.0, to = 2.0, lines = 2.0 } },
        never_more = 7.0, shadows = { { file = "d.list", line = 3.0, by_file = "d.list", by_line = 4.0 } }, shadows_more = 0.0 }
    end,
    plan = function() return world.listeners end,
    stats = function() return { uptime_ms = 90000.0, counters = { accepted = 12.0, refused = 0.0 } } end,
    reload = function()
      world.reloads = world.reloads + 1
      return world.reload_ok, world.reload_text
    end,
  }
end

describe("the console", function()
  local world, console

  before_each(function()
    package.preload["portreeve.safe"] = function() return { environment = safe_environment } end
    world = { listeners = { listener("http", 8080.0, 3.0), listener("https", 8443.0, 0.0) }, connections = {}, refusals = {}, reloads = 0,
      reload_ok = true, reload_text = "" }
    console = require("portreeve.console").new(fake_engine(world))
  end)

  local function eval(text, as_json)
    local ok, out = console.eval(text, as_json)
    assert.is_true(ok, out)
    return out
  end

  it("evaluates expressions and statements", function()
    assert.equal("3", eval "1 + 2")
    assert.equal("1\n2", eval "1, 2")
    assert.equal("", eval "local x = 1")
    assert.equal("7", eval "local x = 7 return x")
    assert.equal("nil", eval "nil")
    assert.equal("text", eval "'text'")
  end)

  it("says what is wrong with the text, and with the call", function()
    local ok, out = console.eval("1 +")
    assert.is_false(ok)
    assert.matches("console:1: ", out, 1, true)
    ok, out = console.eval("nothing()")
    assert.is_false(ok)
    assert.matches("there is no 'nothing' here", out, 1, true)
    ok, out = console.eval("error({ message = 'so' })")
    assert.is_false(ok)
    assert.equal("so", out)
    ok, out = console.eval("error({})")
    assert.is_false(ok)
    assert.matches("no text", out)
  end)

  it("offers neither load nor files, and forgets variables", function()
    for _, name in ipairs { "load", "io", "require", "debug", "dofile" } do
      assert.is_false((console.eval(name)), name)
    end
    eval "listeners = 1; x = 5; string.rep = nil"
    assert.equal("2", eval "#listeners()")
    assert.is_false((console.eval "x"))
  end)

  it("shows lists as aligned tables, the reason last", function()
    local lines = {}
    for line in (eval "listeners()" .. "\n"):gmatch "(.-)\n" do
      lines[#lines + 1] = line
    end
    assert.equal(3, #lines)
    assert.matches("^NAME   ADDRESS  PORT  SCHEME  SERVICES", lines[1])
    assert.matches("^http   0%.0%.0%.0  8080  http    tracker,ui", lines[2])
    assert.matches("conf/tomcat.ini:12 Port (R1)", lines[2], 1, true)
    assert.equal(lines[1]:find "BECAUSE", lines[2]:find("conf/tomcat", 1, true))
    assert.is_nil(lines[1]:find "LIST") -- empty in every row
  end)

  it("shows records as lines, times and spans readable", function()
    local out = eval "stats()"
    assert.matches("uptime_ms  90.0 s", out, 1, true)
    assert.matches("counters\n  refused   0\n  accepted  12", out, 1, true)
    assert.matches("2023%-11%-1", eval "generations()")
    assert.equal("(none)", eval "refusals()")
    assert.matches("probe_at_ms +%-\n", eval '{ port = 8007, probe_at_ms = 0 }' .. "\n")
  end)

  it("never hands control characters to the terminal", function()
    world.refusals = { { address = "192.0.2.1", listener = "http", reason = "denied", ms = 5.0, because = "a\27[2Jb\r\n\194\155c\255" } }
    local out = eval "refusals()"
    assert.is_nil(out:find("[\27\r\155\255]"))
    assert.matches("a\\x1b[2Jb", out, 1, true)
    world.connections = { { remote = "a\226\128\174b\226\129\166c\226\130\172" } }
    assert.matches("a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6c\226\130\172", eval "connections()", 1, true)
  end)

  it("groups refusals by reason and listener, the newest standing for all", function()
    local function d(ms, address, reason, because)
      return { ms = ms, address = address, listener = "http", reason = reason, because = because, policy = "policies/admission.lua:40" }
    end
    world.refusals = { d(9.0, "192.0.2.3", "denied", "conf/lists/denied.list:8"), d(8.0, "192.0.2.1", "maximum", "MaxConnections=4"),
      d(7.0, "192.0.2.1", "denied", "conf/lists/denied.list:7"), d(6.0, "192.0.2.3", "denied", "conf/lists/denied.list:8") }
    local rows = cjson.decode(eval("refusals()", true))
    assert.equal(2, #rows)
    local first = rows[1]
    assert.same({ "denied", 3, "conf/lists/denied.list:8", "192.0.2.3 192.0.2.1" },
      { first.reason, first.count, first.because, first.addresses })
    assert.same({ refused = true, limit = 20000 }, world.asked)
  end)

  it("asks for decisions by what is wanted, and says when there is none", function()
    world.refusals = { { ms = 9.0, address = "192.0.2.3", listener = "http", verdict = "refuse", reason = "denied", policy = "p:1" } }
    assert.matches("denied", eval 'decisions{address="192.0.2.0/24", last=3}', 1, true)
    assert.same({ address = "192.0.2.0/24", limit = 3 }, world.asked)
    assert.matches("is no question", select(2, console.eval "decisions{adress=1}"), 1, true)
    assert.matches("denied", eval 'why("192.0.2.3")', 1, true)
    world.refusals, world.oldest = {}, 5e12
    assert.matches("nothing is remembered of 192.0.2.9; the memory goes back to", select(2, console.eval 'why("192.0.2.9")'), 1, true)
  end)

  it("bounds what it shows", function()
    for i = 1, 2000 do
      world.connections[i] = { remote = "192.0.2.1:" .. i, state = ("x"):rep(500) }
    end
    local out = eval "connections()"
    assert.matches("and 1500 more", out, 1, true)
    assert.is_true(#out < 200000)
  end)

  it("prints JSON for scripts", function()
    assert.same({ "http", "https" }, { cjson.decode(eval("listeners()", true))[1].name, cjson.decode(eval("listeners()", true))[2].name })
    assert.equal("[]", eval("refusals()", true))
    assert.equal("{}", eval("{}", true))
    assert.equal("null", eval("nil", true))
    assert.equal("8080", eval("listeners()[1].port", true))
    assert.equal('"function"', eval("help", true))
    assert.is_false((console.eval("local t = {} t.t = t return t", true)))
  end)

  it("filters and counts", function()
    world.connections = { { listener = "http", worker = 0.0 }, { listener = "https", worker = 0.0 }, { listener = "http", worker = 1.0 } }
    assert.equal("2", eval "#where(connections(), 'listener', 'http')")
    assert.equal('{"0":2,"1":1}', (eval("count(connections(), 'worker')", true):gsub('{"1":1,"0":2}', '{"0":2,"1":1}')))
    assert.equal("8443", eval "listener('https').port")
    assert.is_false((console.eval "listener('nothing')"))
    assert.is_false((console.eval "count(1, 'x')"))
    eval "connections(5)"
    assert.equal(5, world.asked)
  end)

  it("reloads, and says why not", function()
    assert.equal("reloaded", eval "reload()")
    world.reload_ok, world.reload_text = false, "policies/bind.lua:3: syntax error"
    local ok, out = console.eval "reload()"
    assert.is_false(ok)
    assert.equal("policies/bind.lua:3: syntax error", out)
    assert.equal(2, world.reloads)
  end)

  it("lists its functions", function()
    for _, name in ipairs { "listeners", "connections", "plan", "stats", "refusals", "reload", "help", "config", "generations" } do
      assert.matches(name .. "(", eval "help()", 1, true)
    end
    assert.matches("components  tracker", eval "config()", 1, true)
    assert.matches("seccomp", eval "security()")
  end)

  it("shows the lists and what their lines decide", function()
    assert.matches("denied", eval "lists()", 1, true)
    assert.same({ { name = "denied", file = "d.list", line = 1, to = 2, lines = 2 }, { name = "denied", text = "… and 7 more" } },
      cjson.decode(eval("lists.unused()", true)))
    assert.matches("d.list:4", eval 'lists.shadowed("denied")', 1, true)
    assert.is_nil(cjson.decode(eval('lists("denied")', true)).most)
    local ok, why = console.eval 'lists("nix")'
    assert.is_false(ok)
    assert.matches("no address list 'nix'", why, 1, true)
  end)

  it("completes names, fields and listeners, and calls nothing that changes", function()
    assert.same({ "listener(", "listeners(", "lists(" }, console.complete "lis")
    assert.same({ "listeners()[1].scheme", "listeners()[1].services", "listeners()[1].state" }, console.complete "listeners()[1].s")
    assert.same({ "listeners()[1].because.file" }, console.complete "listeners()[1].because.f")
    assert.same({ 'listener("http")', 'listener("https")' }, console.complete 'listener("ht')
    assert.same({}, console.complete "reload().x")
    assert.same({}, console.complete "nothing().x")
    assert.same({}, console.complete "listeners()[9].x")
    assert.equal(0, world.reloads)
    assert.is_true(#console.complete "" > 8)
  end)

  it("answers lines", function()
    assert.same({ ok = true, text = "3" }, cjson.decode(console.answer '{"eval":"1+2"}'))
    assert.matches('^{"ok":true,"text":"', (console.answer '{"eval":"1+2"}'))
    assert.same({ ok = true, text = "[1]" }, cjson.decode(console.answer '{"eval":"{1}","json":true}'))
    assert.same({ ok = true, text = "listener(\nlisteners(\nlists(" }, cjson.decode(console.answer '{"complete":"lis"}'))
    for _, bad in ipairs { "", "x", "[]", "{}", "1", '{"eval":1}', '{"eval"' } do
      assert.is_false(cjson.decode(console.answer(bad)).ok, bad)
    end
    assert.is_nil(console.answer('{"eval":"\\"a\\\\nb\\""}'):find "\n")
  end)

  it("tells what would become of a caller, whatever the engine leaves out", function()
    local answer = { decision = { address = "192.0.2.9", listener = "http", verdict = "allow" }, socket = "0.0.0.0:80", generation = 3,
      stages = {}, ["in"] = true, delay_ms = 0, services = "tracker", left = { active = 1, active_from_address = 1 } }
    local would = require "portreeve.would"
    assert.matches("192.0.2.9 at listener http (0.0.0.0:80) would be let in", would.words(answer), 1, true)
    assert.is_nil(would.words(answer):find "sockets that fit")
    answer.sockets = 3
    assert.matches("the first of 3 sockets that fit", would.words(answer), 1, true)
  end)
end)
