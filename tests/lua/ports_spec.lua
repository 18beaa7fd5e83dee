-- Which ports there are: by installed component, on one server and on several, changed and kept apart (M22–M32, M44–M55, E1–E9,
-- Q2, Q3).
local sim = require "portreeve.sim"
sim.install()
local fake = require "portreeve.fake"
local rules = require "portreeve.rules"
local bind = sim.policy "policies/bind.lua"

local host = fake.host { "127.0.0.1", "192.0.2.1", "192.0.2.2", "::1", "2001:db8::1" }

local function plan_of(files, machine)
  local r, warnings = fake.rules(files)
  local p = bind(r, machine or host)
  assert.same({}, p.errors)
  return p, r, warnings
end

-- { [port] = true } of all that this host has: the plan's sockets, the ui's own database.
local function ports_of(files)
  local p, r = plan_of(files)
  local set = {}
  for _, s in ipairs(p.sockets) do set[s.port] = true end
  if r.database then set[r.database.port.value] = true end
  return set
end

local function set(...)
  local out = {}
  for _, v in ipairs { ... } do out[v] = true end
  return out
end

local function errors_of(files)
  local input = {}
  for name, list in pairs(files) do
    local entries = {}
    for i, e in ipairs(list) do entries[i] = { key = e[1], value = e[2], line = e.line or i } end
    input[name] = { display = "conf/" .. name, entries = entries }
  end
  return select(2, rules.build(input)).errors
end

describe("the inventory of ports", function()
  local base = {
    hub = set(80, 1099, 8007),                 -- M24
    ui = set(80, 1099, 3306, 8007),            -- M25
    tracker = set(80, 1099, 7000, 8007),       -- M26
    ["hub,ui"] = set(80, 1099, 3306, 8007),
    ["hub,tracker"] = set(80, 1099, 7000, 8007),
    ["tracker,ui"] = set(80, 1099, 3306, 7000, 8007),
    ["tracker,ui,hub"] = set(80, 1099, 3306, 7000, 8007),
  }
  for components, want in pairs(base) do
    local function files(tomcat)
      return { ["tomcat.ini"] = tomcat or {}, ["portreeve.ini"] = { { "Components", components } },
        ["my.ini"] = "[client]\nport=3306\n[mysqld]\nport=3306\n" }
    end
    it(components .. " has exactly the ports of the list (M24, M25, M26)", function()
      assert.same(want, ports_of(files()))
    end)
    it(components .. " with HTTPS has 443 for 80 (M24, M25, M26)", function()
      local https = {}
      for port in pairs(want) do https[port == 80 and 443 or port] = true end
      assert.same(https, ports_of(files { { "SecureServer", "true" } }))
    end)
    it(components .. " in any order is the same (M28)", function()
      local turned = {}
      for word in components:gmatch "[^,]+" do table.insert(turned, 1, word) end
      local other = files()
      other["portreeve.ini"] = { { "Components", table.concat(turned, ",") } }
      assert.same(want, ports_of(other))
    end)
  end
  it("has the database where the ui has one of its own, and else not (M25)", function()
    assert.same(set(80, 1099, 8007), ports_of { ["portreeve.ini"] = { { "Components", "ui" } } })
    assert.same(set(80, 1099, 3307, 8007), ports_of { ["portreeve.ini"] = { { "Components", "ui" } },
      ["my.ini"] = "[client]\nport=3307\n[mysqld]\nport=3307\n" })
  end)
  it("has no shutdown port where it is switched off (M24, M64)", function()
    for _, off in ipairs { "-1", "0" } do
      assert.same(set(80, 1099), ports_of { ["tomcat.ini"] = { { "ShutdownPort", off } }, ["portreeve.ini"] = { { "Components", "hub" } } })
    end
    assert.same(set(80, 1099, 9100), ports_of { ["tomcat.ini"] = { { "ShutdownPort", "9100" } },
      ["portreeve.ini"] = { { "Components", "hub" } } })
  end)
  it("has the shutdown port on loopback only, for the supervisor (M24, M64)", function()
    local found = {}
    for _, s in ipairs((plan_of { ["portreeve.ini"] = { { "Components", "hub" } } }).sockets) do
      if s.port == 8007 then found[#found + 1] = { s.name, s.address, table.concat(s.services, ",") } end
    end
    assert.same({ { "shutdown", "127.0.0.1", "shutdown" } }, found)
  end)
  it("is shared by the components of one server: each port is one socket a family, with all services (M22, M28)", function()
    local seen = {}
    for _, s in ipairs((plan_of {}).sockets) do
      local place = s.address .. "/" .. s.port
      assert.is_nil(seen[place])
      seen[place] = true
      if s.name == "http" then assert.same({ "tracker", "ui", "hub" }, s.services) end
    end
  end)
  it("has 7000 for accepting only, and only for the components' addresses (M27)", function()
    for _, s in ipairs((plan_of {}).sockets) do
      if s.name == "communications" then
        assert.same({ { "transfer" }, "grant", "components" }, { s.services, s.restriction, s.list })
      end
    end
  end)
end)

describe("Port and SecurePort", function()
  local function http(tomcat, components)
    return fake.sockets((plan_of { ["tomcat.ini"] = tomcat, ["portreeve.ini"] = { { "Components", components or "tracker,ui,hub" } } }))
  end
  it("move every component of the server at once, and nothing else (M29, M30, M44, M46)", function()
    assert.same({ "http://0.0.0.0:8080", "http://[::]:8080" }, http { { "Port", "8080" } })
    assert.same({ "https://0.0.0.0:8443 default", "https://[::]:8443 default" },
      http { { "SecureServer", "true" }, { "SecurePort", "8443" } })
    local p = plan_of { ["tomcat.ini"] = { { "Port", "8080" } } }
    for _, s in ipairs(p.sockets) do
      assert.same(s.name == "http" and 8080 or s.name == "internal" and 1099 or s.name == "communications" and 7000 or s.port, s.port)
    end
  end)
  it("left out are 80 and 443 (M29, M45)", function()
    assert.same({ "http://0.0.0.0:80", "http://[::]:80" }, http {})
    assert.same({ "https://0.0.0.0:443 default", "https://[::]:443 default" }, http { { "SecureServer", "true" } })
  end)
  it("are each server's own: two servers may differ (M22, M31, M46)", function()
    assert.same({ "http://0.0.0.0:8080", "http://[::]:8080" }, http({ { "Port", "8080" } }, "hub"))
    assert.same({ "https://192.0.2.1:443 default" }, http({ { "SecureServer", "192.0.2.1" } }, "tracker"))
  end)
  it("may be any from 1 to 65535, 80 too (E2, E8, E12)", function()
    for _, port in ipairs { 1, 80, 65535 } do
      assert.same({ ("http://0.0.0.0:%d"):format(port), ("http://[::]:%d"):format(port) }, http { { "Port", "" .. port } })
    end
    for _, port in ipairs { "0", "65536" } do
      assert.equal(1, #errors_of { ["tomcat.ini"] = { { "Port", port } } })
    end
  end)
end)

describe("internal ports on one server", function()
  it("must agree: both files are named, with lines (M49)", function()
    local found = errors_of { ["hub.ini"] = { { "RMIPort", "5310" } }, ["lui.ini"] = { { "RMIPort", "5311", line = 7 } },
      ["portreeve.ini"] = { { "Components", "ui,hub" } } }
    assert.equal(1, #found)
    assert.is_truthy(found[1]:find("conf/lui.ini:7 has 5311 and conf/hub.ini:1 has 5310", 1, true), found[1])
  end)
  it("of one server are no business of another (M49)", function()
    assert.same({}, errors_of { ["hub.ini"] = { { "RMIPort", "5310" } }, ["lui.ini"] = { { "RMIPort", "5311" } },
      ["portreeve.ini"] = { { "Components", "hub" } } })
  end)
  it("are called by the number they have: a wrong HubRMIPort or TrackerRMIPort is refused, both lines named (M52, M55)", function()
    local good = { ["hub.ini"] = { { "RMIPort", "5310" } }, ["tracker.ini"] = { { "RMIPort", "5310" }, { "HubRMIPort", "5310" } },
      ["lui.ini"] = { { "RMIPort", "5310" }, { "HubRMIPort", "5310" }, { "TrackerRMIPort", "5310" } } }
    assert.same({}, errors_of(good))
    for _, case in ipairs { { "lui.ini", 2, "HubRMIPort", "the hub is on this server, where conf/hub.ini:1 has 5310" },
      { "lui.ini", 3, "TrackerRMIPort", "the tracker is on this server, where conf/tracker.ini:1 has 5310" },
      { "tracker.ini", 2, "HubRMIPort", "the hub is on this server, where conf/hub.ini:1 has 5310" } } do
      local file, line, entry, text = table.unpack(case)
      local was = good[file][line]
      good[file][line] = { entry, "1099" }
      local found = errors_of(good)
      good[file][line] = was
      assert.equal(1, #found)
      assert.is_truthy(found[1]:find(("conf/%s:%d: %s=1099: %s"):format(file, line, entry, text), 1, true), found[1])
      assert.is_truthy(found[1]:find(("conf/%s:%d has 1099"):format(file, line), 1, true), found[1])
    end
  end)
  it("are followed where nothing else is written, 1099 at the end (M51, M52, M53, M54, M55)", function()
    local five = { { "RMIPort", "5310" } }
    local r = fake.rules { ["hub.ini"] = five, ["lui.ini"] = five, ["tracker.ini"] = five }
    assert.same({ 5310, 5310, 5310 }, { r.lui.HubRMIPort.value, r.lui.TrackerRMIPort.value, r.tracker.HubRMIPort.value })
    r = fake.rules {}
    assert.same({ 1099, 1099, 1099, 1099 }, { r.internal_port.value, r.lui.HubRMIPort.value, r.lui.TrackerRMIPort.value,
      r.tracker.HubRMIPort.value })
  end)
  it("of components elsewhere are what is written there, 1099 where nothing is (M52, M55)", function()
    local r = fake.rules { ["lui.ini"] = { { "RMIPort", "5310" }, { "HubHost", "hub.example.org" }, { "HubRMIPort", "5399" },
      { "TrackerHost", "news.example.org" } }, ["portreeve.ini"] = { { "Components", "ui" } } }
    assert.same({ 5310, 5399, 1099 }, { r.internal_port.value, r.lui.HubRMIPort.value, r.lui.TrackerRMIPort.value })
    assert.same({}, errors_of { ["hub.ini"] = { { "RMIPort", "1099" } }, ["lui.ini"] = { { "HubHost", "hub.example.org" },
      { "HubRMIPort", "5399" } } })
  end)
end)

describe("two purposes", function()
  it("have two listeners, like 82 for administration and 81 for tracking (E1)", function()
    local p = plan_of { ["listeners.ini"] = { { "admin.Port", "82" }, { "admin.Services", "hub,ui" }, { "tracking.Port", "81" },
      { "tracking.Services", "tracker" } } }
    local got = {}
    for _, s in ipairs(p.sockets) do got[s.name] = s.port .. " " .. table.concat(s.services, ",") end
    assert.same({ "82 hub,ui", "81 tracker" }, { got.admin, got.tracking })
  end)
  it("warn below 5000, where other services are at home, but for documented ports (Q3)", function()
    local function warned(port, services)
      local _, _, warnings = plan_of { ["listeners.ini"] = { { "a.Port", port } }, services = services }
      return #warnings == 1 and warnings[1]:find("^conf/listeners%.ini:1: a%.Port=.*: port %d+ is below 5000") ~= nil
    end
    for _, port in ipairs { "1", "799", "4999", "192.0.2.1:2500" } do
      assert.is_true(warned(port), port)
    end
    for _, port in ipairs { "80", "443", "81", "82", "5000", "5001", "8080", "65535", "SMTP", "25", "free", "0" } do
      assert.is_false(warned(port), port)
    end
    assert.is_false(warned("2500", "RELAY 2500/tcp"))
  end)
  it("never warn of the server's own ports (Q3)", function()
    local _, _, warnings = plan_of { ["tomcat.ini"] = { { "Port", "800" }, { "SecurePort", "801" } },
      ["hub.ini"] = { { "RMIPort", "900" } }, ["lui.ini"] = { { "RMIPort", "900" } }, ["tracker.ini"] = { { "RMIPort", "900" },
        { "CommunicationsPort", "901" } } }
    assert.same({}, warnings)
  end)
end)
