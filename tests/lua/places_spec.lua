-- Where sockets can be: addresses that may be missing, interfaces, groups of them, several sockets of one listener
-- (Q5–Q9, Q11–Q14, Q18, Q19, G1–G8, E9, E10). bind.lua as a pure function.
local sim = require "portreeve.sim"
sim.install()
local fake = require "portreeve.fake"
local rules = require "portreeve.rules"
local bind = sim.policy "policies/bind.lua"

local host = fake.host({ "127.0.0.1", "192.0.2.1%eth0", "2001:db8::1%eth0", "fe80::1%eth0", "10.0.0.1%eth1", "fe80::1%eth1" }, true,
  { "ppp0" })

local function run(files, machine)
  files["portreeve.ini"] = files["portreeve.ini"] or {}
  table.insert(files["portreeve.ini"], { "Components", "tracker" })
  local r = fake.rules(files)
  return (bind(r, machine or host))
end

local function at(bind_address, listeners, machine, groups)
  return run({ ["tomcat.ini"] = { { "BindAddress", bind_address }, { "Port", "8080" } }, ["listeners.ini"] = listeners,
    ["portreeve.ini"] = groups }, machine)
end

local function sockets(p, name)
  assert.same({}, p.errors)
  return fake.sockets(p, name)
end

local function refused(p, text)
  assert.equal(1, #p.errors)
  assert.is_truthy(p.errors[1]:find(text, 1, true), p.errors[1])
end

describe("an interface", function()
  it("stands for all its addresses of both families, link-local ones with their scope", function()
    local p = at "eth0"
    assert.same({ "http://192.0.2.1:8080", "http://[2001:db8::1]:8080", "http://[fe80::1%eth0]:8080" }, sockets(p))
    assert.same({ "BindAddress", 1, "R7" }, { p.sockets[1].because.entry, p.sockets[1].because.line, p.sockets[1].because.row })
    assert.same({ "http://10.0.0.1:81", "http://[fe80::1%eth1]:81" }, sockets(at "eth1:81"))
    assert.same({ "http://127.0.0.1:8080" }, sockets(at "lo"))
  end)
  it("stands beside addresses; what both name is one socket and a warning", function()
    local p = at "eth1, 127.0.0.1, 10.0.0.1"
    assert.same({ "http://10.0.0.1:8080", "http://[fe80::1%eth1]:8080", "http://127.0.0.1:8080" }, sockets(p))
    assert.equal(1, #p.warnings)
    assert.is_truthy(p.warnings[1]:find "10.0.0.1 is listed twice")
  end)
  it("keeps the rows of the table: those of Secure-ADDRESS are HTTPS (R8)", function()
    local p = run { ["tomcat.ini"] = { { "BindAddress", "eth0" }, { "Secure-192.0.2.1", "one" }, { "Secure-10.0.0.1", "" } } }
    assert.same({ "https://192.0.2.1:443 one", "http://[2001:db8::1]:80", "http://[fe80::1%eth0]:80" }, sockets(p))
    assert.is_truthy(p.warnings[1]:find "10.0.0.1 is not in BindAddress")
  end)
  it("is the place of a listener too", function()
    assert.same({ "http://10.0.0.1:9180", "http://[fe80::1%eth1]:9180" },
      sockets(at("lo", { { "a.Port", "9180" }, { "a.Address", "eth1" } }), "a"))
    assert.same({ "http://10.0.0.1:9180", "http://[fe80::1%eth1]:9180" }, sockets(at("lo", { { "a.Port", "eth1:9180" } }), "a"))
  end)
  it("that nobody has is refused, with the nearest name", function()
    refused(at "etho",
      "conf/tomcat.ini:1: BindAddress: etho is neither an interface of this machine (lo, eth0, eth1, ppp0) nor a group of " ..
      "portreeve.ini; host names are not looked up: did you mean eth0?")
    refused(at("lo", { { "a.Port", "9180" }, { "a.Address", "www.example.org" } }),
      "conf/listeners.ini:2: a.Address: www.example.org is neither")
  end)
  it("is no place for a misspelled word: what was meant is said (M8)", function()
    refused(at "OnlyIPV4Address", "did you mean OnlyIPV4Addresses?")
    local _, report = rules.build { ["tomcat.ini"] = { display = "t",
      entries = { { key = "BindAddress", value = "eth0:1:2", line = 1 } } } }
    assert.is_truthy(report.errors[1]:find('"eth0:1:2"', 1, true), report.errors[1])
  end)
  it("without an address is refused, and waited for where that is asked", function()
    refused(at "ppp0", "the interface ppp0 has no address now: WhenMissing=Wait")
    local p = at("ppp0, lo", { { "http.WhenMissing", "Wait" } })
    assert.same({ "http://127.0.0.1:8080" }, sockets(p))
    assert.same({ "conf/tomcat.ini:1: BindAddress: the interface ppp0 has no address now: its sockets are opened as its addresses appear" },
      p.warnings)
  end)
  it("that is not there at all can be waited for as well, with a hint at what it may be (Q18)", function()
    local p = at("ppp1, lo", { { "http.WhenMissing", "Wait" } })
    assert.same({ "http://127.0.0.1:8080" }, sockets(p))
    assert.is_truthy(p.warnings[1]:find "did you mean ppp0%?; it is waited for")
  end)
  it("leaves out addresses that are still being checked, with a warning", function()
    local h = fake.host { "192.0.2.1%eth0", "2001:db8::1%eth0" }
    h.addresses[2].tentative = true
    local p = at("eth0", nil, h)
    assert.same({ "http://192.0.2.1:8080" }, sockets(p))
    assert.is_truthy(p.warnings[1]:find "2001:db8::1 on eth0 is still being checked")
    assert.same({ "http://192.0.2.1:8080", "http://[2001:db8::1]:8080 (waiting)" }, sockets(at("eth0", { { "http.WhenMissing",
      "Wait" } }, h)))
  end)
  it("has no place in SecureServer, where only addresses can stand", function()
    local _, report = rules.build { ["tomcat.ini"] = { display = "t", entries = { { key = "SecureServer", value = "eth0", line = 1 } } } }
    assert.equal(1, #report.errors)
  end)
end)

describe("a group", function()
  local lan = { { "Group-lan", "eth1, 192.0.2.1" } }
  local function groups(...) return { table.unpack { ... } } end
  it("stands for its interfaces and addresses, with the port of the item", function()
    assert.same({ "http://10.0.0.1:8080", "http://[fe80::1%eth1]:8080", "http://192.0.2.1:8080" }, sockets(at("lan", nil, nil,
      groups(lan[1]))))
    assert.same({ "http://127.0.0.1:8080", "http://10.0.0.1:81", "http://[fe80::1%eth1]:81", "http://192.0.2.1:81" },
      sockets(at("lo, lan:81", nil, nil, groups(lan[1]))))
  end)
  it("is offered where a name is near it", function()
    refused(at("lam", nil, nil, groups(lan[1])), "nor a group of portreeve.ini (lan); host names are not looked up: did you mean lan?")
  end)
  it("must not hold a group, ports, nothing, or unknown interfaces", function()
    refused(at("all", nil, nil, groups(lan[1], { "Group-all", "lan, lo" })), "group all holds the group lan")
    refused(at("x", nil, nil, groups { "Group-x", "lo, etho" }), "etho is neither an interface")
    for _, value in ipairs { "eth0:80", "127.0.0.1:80", "", ",", "localhost", "OnlyIPV4Addresses:80" } do
      local _, report = rules.build { ["portreeve.ini"] = { display = "p", entries = { { key = "Group-x", value = value, line = 4 } } } }
      assert.equal(1, #report.errors, value)
      assert.is_truthy(report.errors[1]:find "^p:4: Group%-x=", report.errors[1])
    end
    for _, name in ipairs { "Group-", "Group-1", "Group-a b", "Group-" .. ("x"):rep(16) } do
      local _, report = rules.build { ["portreeve.ini"] = { display = "p", entries = { { key = name, value = "eth0", line = 1 } } } }
      assert.equal(1, #report.errors, name)
    end
  end)
  it("in small letters is another name", function()
    local _, report = rules.build { ["portreeve.ini"] = { display = "p", entries = { { key = "group-x", value = "eth0", line = 1 } } } }
    assert.is_truthy(report.warnings[1]:find "write Group%-NAME")
  end)
end)

describe("an address that is not on this machine", function()
  local wait, freebind = { { "http.WhenMissing", "Wait" } }, { { "http.WhenMissing", "Freebind" } }
  it("is left to the kernel, which refuses it by name (Q7, Q19)", function()
    assert.same({ "http://192.169.1.1:8080" }, sockets(at "192.169.1.1"))
    assert.equal("refuse", at("192.169.1.1", { { "http.WhenMissing", "Refuse" } }).sockets[1].when_missing)
  end)
  it("waits where WhenMissing is Wait, and says so (Q7, Q18)", function()
    local p = at("192.0.2.7, 127.0.0.1", wait)
    assert.same({ "http://192.0.2.7:8080 (waiting)", "http://127.0.0.1:8080" }, sockets(p))
    assert.same({ "wait", "wait" }, { p.sockets[1].when_missing, p.sockets[2].when_missing })
    assert.same({ "conf/tomcat.ini:1: BindAddress: 192.0.2.7 is not on this machine now: " ..
      "its socket is opened as soon as the address can be used" },
      p.warnings)
  end)
  it("is a plain socket once it is there, and waits again once it is gone (Q18)", function()
    local without, with = fake.host { "127.0.0.1" }, fake.host { "127.0.0.1", "192.0.2.7" }
    for _ = 1, 2 do
      assert.same({ "http://192.0.2.7:8080 (waiting)" }, sockets(at("192.0.2.7", wait, without)))
      assert.same({ "http://192.0.2.7:8080" }, sockets(at("192.0.2.7", wait, with)))
    end
  end)
  it("is bound in advance where WhenMissing is Freebind, and says so (Q7)", function()
    local p = at("192.0.2.7", freebind)
    assert.same({ "http://192.0.2.7:8080 (freebind)" }, sockets(p))
    assert.is_nil(p.sockets[1].waiting)
    assert.is_truthy(p.warnings[1]:find "bound all the same")
  end)
  it("is never one of 127.0.0.0/8 or a wildcard", function()
    assert.same({ "http://127.1.2.3:8080", "http://0.0.0.0:8081" }, sockets(at("127.1.2.3, 0.0.0.0:8081", wait)))
  end)
  it("may be link-local, with its interface, there or not (M20)", function()
    assert.same({ "http://[fe80::9%eth0]:8080 (waiting)", "http://[fe80::9%ppp7]:8080 (waiting)" },
      sockets(at("[fe80::9%eth0], [fe80::9%ppp7]", wait)))
    refused(at("[fe80::9]", wait), "is written with its interface, as in [fe80::9%eth0]")
    refused(at("[fe80::9%ppp7]", freebind), "there is no interface ppp7, and Freebind needs it")
    refused(at "[fe80::9%ppp7]", "fe80::9%ppp7: there is no interface ppp7")
  end)
  it("waits while it is still being checked for duplicates", function()
    local h = fake.host { "2001:db8::1%eth0", "fe80::1%eth0" }
    h.addresses[1].tentative, h.addresses[2].tentative = true, true
    assert.same({ "http://[2001:db8::1]:8080 (waiting)", "http://[fe80::1%eth0]:8080 (waiting)" },
      sockets(at("[2001:db8::1], [fe80::1]", wait, h)))
    assert.same({ "http://[2001:db8::1]:8080 (waiting)", "http://[fe80::1%eth0]:8080 (waiting)" },
      sockets(at("[2001:db8::1], [fe80::1]", nil, h)))
    h.addresses[1].tentative, h.addresses[1].duplicate = false, true
    assert.equal(1, #at("[2001:db8::1], [fe80::1]", nil, h).errors)
    assert.same({ "http://[2001:db8::1]:8080 (waiting)", "http://[fe80::1%eth0]:8080 (waiting)" },
      sockets(at("[2001:db8::1], [fe80::1]", wait, h)))
  end)
  it("of a listener of its own waits by that listener's word (Q7)", function()
    local p = at("lo", { { "a.Port", "192.0.2.7:9180" }, { "a.WhenMissing", "wait" } })
    assert.same({ "http://192.0.2.7:9180 (waiting)" }, sockets(p, "a"))
    assert.same({ "http://127.0.0.1:8080" }, sockets(p))
  end)
  it("is HTTPS by the rows as well (R2, R6)", function()
    local p = run { ["tomcat.ini"] = { { "Secure-192.0.2.7", "one" }, { "SecureServer", "192.0.2.8" } }, ["listeners.ini"] = wait }
    assert.same({ "https://192.0.2.7:443 one (waiting)", "https://192.0.2.8:443 default (waiting)" }, sockets(p))
  end)
  it("cannot be missed by listeners that have every address", function()
    for _, name in ipairs { "internal", "communications" } do
      local _, report = rules.build { ["listeners.ini"] = { display = "l",
        entries = { { key = name .. ".WhenMissing", value = "Wait", line = 3 } } } }
      assert.is_truthy(report.errors[1]:find("l:3: " .. name .. ".WhenMissing=: this listener never misses", 1, true), report.errors[1])
    end
  end)
end)

describe("a listener", function()
  local function listeners(entries, more)
    local files = { ["listeners.ini"] = entries, ["portreeve.ini"] = {} }
    for name, list in pairs(more or {}) do files[name] = list end
    return run(files)
  end
  local function report_of(entries)
    local list = {}
    for i, e in ipairs(entries) do list[i] = { key = e[1], value = e[2], line = i } end
    return select(2, rules.build { ["listeners.ini"] = { display = "l", entries = list } })
  end
  it("has all addresses, or those of its port field (Q8, Q9, Q11, Q12, G2)", function()
    assert.same({ "http://0.0.0.0:110", "http://[::]:110" }, sockets(listeners { { "a.Port", "POP3" } }, "a"))
    assert.same({ "http://127.0.0.1:80" }, sockets(listeners { { "a.Port", "127.0.0.1:HTTP" } }, "a"))
    assert.same({ "http://[::1]:81" }, sockets(listeners { { "a.Port", "[::1]:81" } }, "a"))
    assert.same({ "http://192.0.2.1:81", "http://10.0.0.1:82" }, sockets(listeners { { "a.Port", "192.0.2.1:81, 10.0.0.1:82" } }, "a"))
    local p = listeners { { "a.Port", "127.0.0.1:81" } }
    for _, s in ipairs(p.sockets) do
      if s.name == "a" then assert.same({ "a.Port", 1 }, { s.because.entry, s.because.line }) end
    end
  end)
  for value, why in pairs { [""] = "missing", [" "] = "missing", ["127.0.0.1"] = "the port is missing", [":81"] = "address before",
    ["127.0.0.1:"] = "missing",
    ["127.0.0.1:0"] = "out of range", ["localhost:81"] = "host names are not looked up", ["127.0.0.1:81,"] = "empty",
    ["127.0.0.1:81, [::1]"] = "has no port", ["::1:81"] = "brackets", ["81,82"] = "further port is a row",
    ["host name:81"] = "not an IPv4" } do
    it(("refuses the port field %q (Q8, G6)"):format(value), function()
      local report = report_of { { "a.Port", value } }
      assert.equal(1, #report.errors)
      assert.is_truthy(report.errors[1]:find("^l:1: a%.Port=") and report.errors[1]:find(why, 1, true), report.errors[1])
    end)
  end
  it("does not look host names up (Q8)", function()
    refused(listeners { { "a.Port", "www.example:81" } }, "host names are not looked up")
  end)
  it("has its addresses in one entry only", function()
    local report = report_of { { "a.Port", "127.0.0.1:81" }, { "a.Address", "127.0.0.1" } }
    assert.is_truthy(report.errors[1]:find("^l:1: a%.Port=127%.0%.0%.1:81: the addresses stand here and in line 2"), report.errors[1])
  end)

  it("of one port can be there three times, each with its own settings (Q5, Q14)", function()
    local p = listeners { { "loop.Port", "127.0.0.1:8025" }, { "loop.Services", "tracker,ops" },
      { "lan.Port", "10.0.0.1:8025" }, { "lan.Restriction", "Grant" }, { "lan.List", "lan" },
      { "public.Port", "192.0.2.1:8025" }, { "public.MaxPerAddress", "5" }, { "public.MaxConnections", "50" } }
    local got = {}
    for _, s in ipairs(p.sockets) do
      got[s.name] = { s.address, s.port, table.concat(s.services, ","), s.restriction, s.list, s.max_per_address, s.max_connections }
    end
    assert.same({ "127.0.0.1", 8025, "tracker,ops", "none", nil, 0, 0 }, got.loop)
    assert.same({ "10.0.0.1", 8025, "tracker", "grant", "lan", 0, 0 }, got.lan)
    assert.same({ "192.0.2.1", 8025, "tracker", "none", nil, 5, 50 }, got.public)
  end)
  it("can keep the hub on loopback and the tracker public (Q14, E1, E9)", function()
    local r = fake.rules { ["tomcat.ini"] = { { "BindAddress", "127.0.0.1" } }, ["listeners.ini"] = { { "open.Port", "192.0.2.1:HTTP" },
      { "open.Services", "tracker" } } }
    local p, got = bind(r, host), {}
    for _, s in ipairs(p.sockets) do
      if s.port == 80 then got[#got + 1] = s.address .. " " .. table.concat(s.services, ",") end
    end
    assert.same({ "127.0.0.1 tracker,ui,hub", "192.0.2.1 tracker" }, got)
  end)

  it("has one or several sockets: rows, each with its own restriction (G1, G3)", function()
    local p = listeners { { "a.Port", "192.0.2.1:8081" }, { "a.MaxPerAddress", "7" }, { "a.Backlog", "100" },
      { "a.2.Port", "10.0.0.1:8082" }, { "a.2.Restriction", "Grant" }, { "a.2.List", "lan" }, { "a.3.Port", "8443" }, { "a.3.InitTLS",
        "On" },
      { "a.3.Address", "lo" }, { "a.3.Backlog", "9" } }
    assert.same({ "http://192.0.2.1:8081", "http://10.0.0.1:8082", "https://127.0.0.1:8443 default" }, sockets(p, "a"))
    local got = {}
    for _, s in ipairs(p.sockets) do
      if s.name == "a" then got[#got + 1] = { s.restriction, s.list, s.max_per_address, s.backlog, s.because.entry, s.because.line } end
    end
    assert.same({ { "none", nil, 7, 100, "a.Port", 1 }, { "grant", "lan", 7, 100, "a.2.Port", 4 }, { "none", nil, 7, 9, "a.3.Port",
      7 } }, got)
  end)
  it("may have rows only, and one socket in clear beside a secure one (G1, G8)", function()
    assert.same({ "http://0.0.0.0:8081", "http://[::]:8081", "https://0.0.0.0:8443 default", "https://[::]:8443 default" },
      sockets(listeners { { "a.1.Port", "8081" }, { "a.2.Port", "8443" }, { "a.2.InitTLS", "On" } }, "a"))
  end)
  it("lends a row what the row does not say, but not its port (G1)", function()
    local p = listeners { { "a.Port", "8081" }, { "a.Address", "lo" }, { "a.Services", "ops" }, { "a.2.Port", "8082" },
      { "a.3.Port", "8083" }, { "a.3.Services", "tracker" } }
    assert.same({ "http://127.0.0.1:8081", "http://127.0.0.1:8082", "http://127.0.0.1:8083" }, sockets(p, "a"))
    for _, s in ipairs(p.sockets) do
      if s.name == "a" then assert.same(s.port == 8083 and { "tracker" } or { "ops" }, s.services) end
    end
    assert.is_truthy(report_of({ { "a.2.Address", "127.0.0.1" } }).errors[1]:find("a.2.Port=: a row needs a port", 1, true))
  end)
  it("with port 0 is none: the row that adds is empty, the row that is set to 0 goes (G6, G7, Q15)", function()
    local entries = { { "a.Port", "8081" }, { "a.2.Port", "8082" }, { "a.3.Port", "0" } }
    assert.same({ "http://0.0.0.0:8081", "http://[::]:8081", "http://0.0.0.0:8082", "http://[::]:8082" }, sockets(listeners(entries), "a"))
    entries[3][2] = "8083"
    assert.equal(6, #sockets(listeners(entries), "a"))
    entries[1][2] = "0"
    assert.same({ "http://0.0.0.0:8082", "http://[::]:8082", "http://0.0.0.0:8083", "http://[::]:8083" }, sockets(listeners(entries), "a"))
    entries[2][2], entries[3][2] = "0", "0"
    local p = listeners(entries)
    assert.same({}, sockets(p, "a"))
    assert.same({}, p.warnings)
  end)
  it("adds two at once, and an invalid number refuses all (G6)", function()
    assert.same({ 4, {} }, { #sockets(listeners { { "a.2.Port", "8082" }, { "a.3.Port", "8083" } }, "a"), report_of { { "a.Port",
      "1" } }.errors })
    local report = report_of { { "a.2.Port", "8082" }, { "a.3.Port", "99999" } }
    assert.equal(1, #report.errors)
    assert.is_truthy(report.errors[1]:find("l:2: a.3.Port=99999: not a port", 1, true), report.errors[1])
  end)
  it("with the word free, or 0 on the command line, takes a port that the kernel chooses", function()
    assert.same({ "http://0.0.0.0:0", "http://[::]:0" }, sockets(listeners { { "a.Port", "free" } }, "a"))
    assert.same({ "http://0.0.0.0:0", "http://[::]:0" },
      sockets(listeners({ { "a.Port", "0" } }, { ["--set"] = { { "listeners.ini", "a.Port=0" } } }), "a"))
  end)
  it("counts over all its sockets: a row has no counts of its own (G24, G26, G27)", function()
    for _, entry in ipairs { "MaxConnections", "MaxPerAddress", "Reserve" } do
      local report = report_of { { "a.Port", "8081" }, { "a.2.Port", "8082" }, { "a.2." .. entry, "5" } }
      assert.equal(1, #report.errors)
      local want = "l:3: a.2.%s=5: this counts for all sockets of the listener together: write a.%s"
      assert.is_truthy(report.errors[1]:find(want:format(entry, entry), 1, true), report.errors[1])
    end
  end)
  it("that is built in has no rows; a bad row name is refused", function()
    assert.is_truthy(report_of({ { "http.2.Port", "81" } }).errors[1]:find("give these a listener of their own", 1, true))
    for _, key in ipairs { "a.0.Port", "a.x.Port", "a.2.3.Port", "a.99999.Port", ".2.Port", "a..Port" } do
      assert.equal(1, #report_of({ { key, "81" } }).errors, key)
    end
  end)
  it("warns of unknown entries of a row with the nearest one", function()
    local report = report_of { { "a.2.Port", "8081" }, { "a.2.Adress", "lo" } }
    assert.is_truthy(report.warnings[1]:find("l:2: a.2.Adress=lo: unknown entry, ignored: did you mean Address?", 1, true),
      report.warnings[1])
  end)
  it("needs a list for the restriction of a row (G3)", function()
    local report = report_of { { "a.Port", "8081" }, { "a.2.Port", "8082" }, { "a.2.Restriction", "Deny" } }
    assert.is_truthy(report.errors[1]:find("l:3: a.2.Restriction=Deny: .*add a.2.List=NAME"), report.errors[1])
  end)
end)
