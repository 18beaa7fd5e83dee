-- portreeve.portnames: ports by protocol name, and the file services. Pure Lua, no C.
require("portreeve.sim").install()
local portnames = require "portreeve.portnames"
local report = require "portreeve.report"
local rules = require "portreeve.rules"

local function read(text)
  local r = report.new()
  return portnames.read(text, "conf/services", r), r
end

local function port(text, services)
  return portnames.find(services and read(services) or portnames.new(), text)
end

local function build(files, services)
  local input = {}
  for name, entries in pairs(files) do
    local list = {}
    for i, e in ipairs(entries) do list[i] = { key = e[1], value = e[2], line = i } end
    input[name] = { display = "conf/" .. name, entries = list }
  end
  if services then input.services = { display = "conf/services", text = services } end
  return rules.build(input)
end

describe("protocol names", function()
  it("stand for their ports, in any case (Q1)", function()
    for name, number in pairs { SMTP = 25, POP = 110, POP3 = 110, NNTP = 119, HTTP = 80, FINGER = 79, IMAP = 143, HTTPS = 443 } do
      assert.equal(number, port(name))
      assert.equal(number, port(name:lower()))
    end
    assert.equal(110, port "Pop3")
  end)
  it("are not numbers: those are somebody else's", function()
    for _, text in ipairs { "80", "-1", "", " ", "8 0", "80a", "0x50", "５" } do
      assert.same({ nil, nil }, { port(text) })
    end
  end)
  it("that nobody knows are refused, with the nearest one and what to write (Q1)", function()
    local none, why = port "SMPT"
    assert.is_nil(none)
    assert.is_truthy(why:find("no protocol has the name SMPT: did you mean SMTP?", 1, true), why)
    none, why = port "ssh" -- known to /etc/services only
    assert.is_nil(none)
    assert.is_truthy(why:find("add a line like `ssh 5001/tcp`", 1, true) and why:find("/etc/services is not asked", 1, true), why)
  end)
  it("have none for remote logging: its 5001 is written as a number (Q1)", function()
    local r, found = build { ["listeners.ini"] = { { "log.Port", "5001" } } }
    assert.same({ {}, {} }, { found.errors, found.warnings })
    assert.equal(5001, r.listeners[1].Port.value)
    assert.equal(5001, port("RemoteLog", "REMOTELOG 5001/tcp"))
  end)
end)

describe("the file services", function()
  it("adds names, with aliases, comments and tabs (Q4)", function()
    local text = "# names\r\n\nIMAP 143/tcp\r\nTRACKING\t81/tcp\tCLICKS opens # both\n  admin 82/TCP# ours\n"
    for name, number in pairs { imap = 143, tracking = 81, clicks = 81, OPENS = 81, Admin = 82, smtp = 25 } do
      assert.equal(number, port(name, text))
    end
    assert.same({ {}, {} }, { select(2, read(text)).errors, select(2, read(text)).warnings })
  end)
  it("needs no line end at its end, and may have a BOM (Q4)", function()
    assert.equal(9000, port("x", "\xef\xbb\xbfx 9000/tcp"))
    assert.is_nil((port("x", "")))
  end)
  it("keeps names for udp apart, and says how to add them (Q4)", function()
    local none, why = port("SYSLOG", "# a\nsyslog 514/udp")
    assert.is_nil(none)
    assert.is_truthy(why:find("SYSLOG is a name for udp only (conf/services:2): add a line like `SYSLOG 514/tcp`", 1, true), why)
    assert.equal(53, port("domain", "domain 53/udp\ndomain 53/tcp"))
    assert.equal(53, port("domain", "domain 53/tcp\ndomain 53/udp"))
  end)
  it("names duplicates with both lines: equal ones are said, different ones refused (Q4)", function()
    local _, r = read "a 1000/tcp\n\nA 1000/tcp"
    assert.same({ {}, { "conf/services:3: A stands in line 1 too: once is enough" } }, { r.errors, r.warnings })
    _, r = read "a 1000/tcp\nb 1001/tcp a"
    assert.same({ "conf/services:2: a is port 1001 here and port 1000 in line 1: remove one of the two lines" }, r.errors)
  end)
  it("may give a name that is built in another port, and says so (Q4)", function()
    local names, r = read "HTTP 8080/tcp"
    assert.equal(8080, portnames.find(names, "http"))
    assert.same({ "conf/services:1: HTTP, without this line port 80, is port 8080 from here on" }, r.warnings)
  end)
  for _, bad in ipairs { "x", "x 80", "x 80/", "x /tcp", "80/tcp x", "x 0/tcp", "x 65536/tcp", "x 080/tcp", "x -1/tcp", "x 80/http",
    "x 8a/tcp",
    "x 123456/tcp", "a:b 80/tcp", "1234 80/tcp", ("y"):rep(61) .. " 80/tcp" } do
    it(("refuses %q with its line (Q4)"):format(bad), function()
      local _, r = read("# first\n" .. bad)
      assert.equal(1, #r.errors)
      assert.is_truthy(r.errors[1]:find "^conf/services:2: ", r.errors[1])
    end)
  end
  it("bounds what it says", function()
    local _, r = read(("x\n"):rep(1000))
    assert.same({ 50, 950 }, { #r.errors, r.more })
  end)
end)

describe("a port by name", function()
  it("is good in every entry that takes a port (Q1)", function()
    local r, found = build({
      ["tomcat.ini"] = { { "Port", "http" }, { "SecurePort", " HTTPS " }, { "ShutdownPort", "stop" } },
      ["hub.ini"] = { { "RMIPort", "inner" } },
      ["lui.ini"] = { { "RMIPort", "INNER" }, { "HubRMIPort", "inner" }, { "TrackerRMIPort", "inner" },
        { "TrackerCommunicationsPort", "events" } },
      ["tracker.ini"] = { { "RMIPort", "inner" }, { "HubRMIPort", "inner" }, { "CommunicationsPort", "events" } },
      ["listeners.ini"] = { { "mail.Port", "SMTP" } },
    }, "inner 5310/tcp\nevents 7100/tcp\nstop 9100/tcp\n")
    assert.same({ {}, {} }, { found.errors, found.warnings })
    assert.same({ 80, 443, 9100 }, { r.tomcat.Port.value, r.tomcat.SecurePort.value, r.tomcat.ShutdownPort.value })
    assert.same({ 5310, 5310, 7100, 7100, 25 }, { r.internal_port.value, r.lui.HubRMIPort.value, r.lui.TrackerCommunicationsPort.value,
      r.tracker.CommunicationsPort.value, r.listeners[1].Port.value })
  end)
  it("is good behind an address, with and without blanks (Q1, Q8)", function()
    local text = "127.0.0.1:HTTP, [::1]:smtp, 127.0.0.2 : pop3,[::1] :8080, eth0:Imap"
    local r, found = build { ["tomcat.ini"] = { { "BindAddress", text } } }
    assert.same({}, found.errors)
    assert.same({ { address = "127.0.0.1", port = 80 }, { address = "::1", port = 25 }, { address = "127.0.0.2", port = 110 },
      { address = "::1", port = 8080 }, { name = "eth0", port = 143 } }, r.tomcat.BindAddress.value)
  end)
  it("that nobody knows is refused with file, line, entry and value (Q1)", function()
    for entry, value in pairs { Port = "HTPT", SecurePort = "tls", BindAddress = "127.0.0.1:htpt", ShutdownPort = "none" } do
      local _, found = build { ["tomcat.ini"] = { { entry, value } } }
      assert.equal(1, #found.errors)
      assert.is_truthy(found.errors[1]:find(("conf/tomcat.ini:1: %s=%s: "):format(entry, value), 1, true), found.errors[1])
      assert.is_truthy(found.errors[1]:find "no protocol has the name", found.errors[1])
    end
  end)
  it("comes by --set too", function()
    local r, found = build { ["--set"] = { { "tomcat.ini", "Port=HTTPS" } } }
    assert.same({}, found.errors)
    assert.equal(443, r.tomcat.Port.value)
  end)
end)

describe("hosts with a port (E6)", function()
  local function host(value, more)
    local list = { { "HubHost", value } }
    for _, e in ipairs(more or {}) do list[#list + 1] = e end
    local r, found = build({ ["lui.ini"] = list }, "inner 5310/tcp")
    if found.errors[1] then return nil, found.errors[1] end
    return r.lui.HubHost.value .. " " .. r.lui.HubRMIPort.value
  end
  it("have it behind the colon, with and without a blank", function()
    for _, value in ipairs { "hub.example.org: 2025", "hub.example.org:2025", "hub.example.org : 2025 " } do
      assert.equal("hub.example.org 2025", (host(value)))
    end
    assert.equal("hub.example.org 5310", (host "hub.example.org: INNER"))
    assert.equal("192.0.2.7 2025", (host "192.0.2.7: 2025"))
  end)
  it("have the entry's port where none is written", function()
    assert.equal("hub.example.org 1099", (host "hub.example.org"))
    assert.equal("hub.example.org 5310", (host("hub.example.org", { { "HubRMIPort", "5310" } })))
  end)
  it("take IPv6 in brackets, or bare without a port", function()
    assert.equal("2001:db8::7 2025", (host "[2001:db8::7]: 2025"))
    assert.equal("2001:db8::7 2025", (host "[2001:db8::7]:2025"))
    assert.equal("2001:db8::7 1099", (host "[2001:db8::7]"))
    assert.equal("2001:db8::7 1099", (host "2001:db8::7"))
  end)
  it("refuse what is no port and no host", function()
    for _, bad in ipairs { "hub: 0", "hub: 70000", "hub:", "hub: smpt", ": 2025", "", "a b", "[::1", "hub:1:2", "[hub]:1x" } do
      local got, why = host(bad)
      assert.is_nil(got, bad)
      assert.is_truthy(why:find("^conf/lui%.ini:1: HubHost="), why)
    end
  end)
  it("agree with the port entry, if that is written too", function()
    assert.equal("hub 5310", (host("hub: 5310", { { "HubRMIPort", "5310" } })))
    local _, why = host("hub: 5310", { { "HubRMIPort", "5311" } })
    assert.is_truthy(why:find("this names port 5310, but HubRMIPort is 5311 (conf/lui.ini:2)", 1, true), why)
  end)
  it("reach the tracker on its communications port", function()
    local r = build { ["lui.ini"] = { { "TrackerHost", "news.example.org: 7100" } } }
    assert.same({ "news.example.org", 7100, "conf/lui.ini" },
      { r.lui.TrackerHost.value, r.lui.TrackerCommunicationsPort.value, r.lui.TrackerCommunicationsPort.file })
  end)
end)
