-- What an operator is told about a slip: not only that it is refused, but what was meant and what to write; and what would otherwise
-- silently have no effect.
local sim = require "portreeve.sim"
sim.install()
local fake = require "portreeve.fake"
local rules = require "portreeve.rules"
local bind = sim.policy "policies/bind.lua"

local function report_of(files)
  local input = {}
  for name, list in pairs(files) do
    local entries = {}
    for i, e in ipairs(list) do entries[i] = { key = e[1], value = e[2], line = i } end
    input[name] = { display = "conf/" .. name, entries = entries }
  end
  return select(2, rules.build(input))
end

local function error_of(file, ...)
  local report = report_of { [file] = { ... } }
  assert.equal(1, #report.errors, table.concat(report.errors, "\n"))
  return report.errors[1]
end

local function says(message, text)
  assert.is_truthy(message and message:find(text, 1, true), tostring(message))
end

local function warnings(files)
  local report = report_of(files)
  assert.same({}, report.errors)
  return report.warnings
end

describe("a slip in a list of addresses", function()
  it("is named with the way to continue a line (M10, M18)", function()
    says(error_of("tomcat.ini", { "BindAddress", "192.0.2.1, " }), "a backslash at the very end, with no blank behind it")
    local one = report_of { ["tomcat.ini"] = { { "BindAddress", "192.0.2.1" }, { "192.0.2.2", "" } } }
    says(one.warnings[1], "conf/tomcat.ini:2: 192.0.2.2=: unknown entry, ignored: if it goes on from the line above")
    assert.is_nil(error_of("tomcat.ini", { "BindAddress", "192.0.2.1,,192.0.2.2" }):find("backslash", 1, true))
    assert.is_nil(error_of("tomcat.ini", { "BindAddress", "," }):find("backslash", 1, true))
  end)
  it("may be a * that means something elsewhere (M6, Q12, G2)", function()
    says(error_of("tomcat.ini", { "BindAddress", "*" }), "for all addresses leave this entry out")
    says(error_of("tomcat.ini", { "BindAddress", "*:8080" }), "for all addresses leave this entry out")
    says(error_of("listeners.ini", { "a.Port", "*:8100" }), "for all addresses write the port alone")
    says(error_of("listeners.ini", { "a.Port", "8100" }, { "a.Address", "*, 192.0.2.1" }), "* stands alone")
  end)
  it("may be a port where an address is wanted, and the other way round (Q8, G1, G6)", function()
    says(error_of("listeners.ini", { "a.Port", "8100, 8101" }), "a further port is a row, NAME.2.Port")
    says(error_of("listeners.ini", { "a.Port", "HTTP,8101" }), "port HTTP stands in a list")
    says(error_of("listeners.ini", { "a.Port", "192.0.2.1" }), "write 192.0.2.1:8100 for port 8100 there")
    says(error_of("listeners.ini", { "a.Port", "192.0.2.1:free" }), "free stands alone, as NAME.Port=free")
    says(error_of("tomcat.ini", { "Port", "free" }), "free stands alone, as NAME.Port=free in listeners.ini")
  end)
  it("may be a port in the name of a Secure- entry, which the colon ends (M4, M5)", function()
    says(error_of("tomcat.ini", { "Secure-192.0.2.1", "8443=shop" }), "no port can stand here: HTTPS is on SecurePort")
    says(error_of("tomcat.ini", { "Secure-[2001:db8::1]", "8443=" }), "no port can stand here: HTTPS is on SecurePort")
  end)
end)

describe("a slip in the name of a place", function()
  local host = fake.host({ "127.0.0.1", "192.0.2.1%eth0", "10.0.0.1%eth1" }, true)
  local function plan(group, bind_address)
    return bind(fake.rules { ["portreeve.ini"] = { { "Group-" .. group[1], group[2] } },
      ["tomcat.ini"] = { { "BindAddress", bind_address } } }, host)
  end
  it("names the group that holds it, where it stands", function()
    says(plan({ "lan", "eth0, eth9" }, "lan").errors[1], "group lan (conf/portreeve.ini:1): eth9 is neither an interface")
  end)
  it("is said where a group hides an interface of the same name", function()
    local p = plan({ "eth0", "eth1" }, "eth0")
    assert.same({ "http://10.0.0.1:80" }, fake.sockets(p))
    says(p.warnings[1], "eth0 is an interface and a group (conf/portreeve.ini:1): the group is meant")
  end)
end)

describe("a slip in the name of another machine", function()
  it("may be an empty value or a URL (M52, E6)", function()
    says(error_of("lui.ini", { "HubHost", "" }), "the value is missing")
    says(error_of("lui.ini", { "HubHost", "http://hub.example.org" }), "without what stands before ://")
  end)
  it("may be a port that cannot be (M40, E12)", function()
    for _, port in ipairs { "80800", "0", "x", "080" } do
      local why = ("its port %s is not a number from 1 to 65535"):format(port)
      says(error_of("lui.ini", { "UrlForRecipients", "http://news.example.org:" .. port }), why)
      says(error_of("lui.ini", { "UrlForRecipients", "http://[::1]:" .. port .. "/x" }), why)
    end
    assert.same({}, warnings { ["lui.ini"] = { { "UrlForRecipients", "http://news.example.org:65535/x" } } })
    assert.same({}, warnings { ["lui.ini"] = { { "UrlForRecipients", "https://[::1]" } } })
  end)
end)

describe("the ui and the tracker beside it (M55, M57)", function()
  local function files(asked, own, more)
    local lui = { { "TrackerCommunicationsPort", asked } }
    for _, e in ipairs(more or {}) do lui[#lui + 1] = e end
    return { ["lui.ini"] = lui, ["tracker.ini"] = own and { { "CommunicationsPort", own } } or {} }
  end
  it("are told of different ports for the events", function()
    says(warnings(files("7001"))[1], "conf/lui.ini:1: TrackerCommunicationsPort=7001: the tracker is on this server, and its " ..
      "CommunicationsPort is 7000 (the built-in default): no event arrives")
    says(warnings(files("7000", "7001"))[1], "CommunicationsPort is 7001 (conf/tracker.ini:1)")
  end)
  it("may have one port, or be on two servers", function()
    assert.same({}, warnings(files("7001", "7001")))
    assert.same({}, warnings(files("7001", nil, { { "TrackerHost", "trk.example.org" } })))
    local apart = files("7001")
    apart["portreeve.ini"] = { { "Components", "ui,hub" } }
    assert.same({}, warnings(apart))
  end)
end)

describe("an entry of listeners.ini without effect", function()
  local function of(...) return warnings { ["listeners.ini"] = { { "a.Port", "8100" }, ... } } end
  it("is a list that nobody asks (G3, G9)", function()
    says(of({ "a.List", "lan" })[1],
      "conf/listeners.ini:2: a.List=lan: nobody asks this list, unless a policy does: add a.Restriction=Grant or Deny")
    says(warnings({ ["listeners.ini"] = { { "http.List", "lan" } } })[1], "add http.Restriction=Grant or Deny")
    assert.same({}, of({ "a.List", "lan" }, { "a.Restriction", "Deny" }))
    assert.same({}, of({ "a.List", "lan" }, { "a.2.Port", "8101" }, { "a.2.Restriction", "Grant" }))
    says(of({ "a.2.Port", "8101" }, { "a.2.List", "lan" })[1], "add a.2.Restriction=Grant or Deny")
  end)
  it("is a certificate where nobody speaks TLS (G17, G18)", function()
    says(of({ "a.Certificate", "shop" })[1],
      "conf/listeners.ini:2: a.Certificate=shop: this socket does not speak TLS itself (a.InitTLS is Off)")
    assert.same({}, of({ "a.Certificate", "shop" }, { "a.InitTLS", "On" }))
    assert.same({}, of({ "a.Certificate", "shop" }, { "a.2.Port", "8101" }, { "a.2.InitTLS", "On" }))
  end)
  it("is the trust in a device while everybody may call, which is refused (G22)", function()
    local function fault(...) return error_of("listeners.ini", { "a.Port", "8100" }, ...) end
    local ext = { "a.InitTLS", "Ext" }
    says(fault(ext), "conf/listeners.ini:2: a.InitTLS=Ext: whoever calls here would count as encrypted, so only the TLS device may: " ..
      "name it with a.Restriction=Grant and a.List=NAME (lists/NAME.list), " ..
      "or with a.Proxy and a.ProxyFrom=NAME where it sends PROXY headers")
    says(fault(ext, { "a.Restriction", "Deny" }, { "a.List", "denied" }), "so only the TLS device may")
    says(fault({ "a.2.Port", "8101" }, { "a.2.InitTLS", "Ext" }), "name it with a.2.Restriction=Grant")
    assert.same({}, of(ext, { "a.Restriction", "Grant" }, { "a.List", "device" }))
    assert.same({}, of(ext, { "a.Proxy", "V2" }, { "a.ProxyFrom", "device" }))
    assert.same({}, of(ext, { "a.Address", "127.0.0.1, [::1]" }))
    assert.same({}, of({ "a.2.Port", "0" }, { "a.2.InitTLS", "Ext" }))
  end)
  it("is a PROXY header that nobody is believed to send, or that nobody waits for", function()
    local function fault(...) return error_of("listeners.ini", { "a.Port", "8100" }, ...) end
    says(fault({ "a.Proxy", "v1" }), "conf/listeners.ini:2: a.Proxy=V1: a PROXY header is believed from known devices only: " ..
      "add a.ProxyFrom=NAME")
    says(fault({ "a.Proxy", "V3" }), "not one of Off, V1, V2, Any")
    says(of({ "a.ProxyFrom", "device" })[1], "nobody asks this list: add a.Proxy=V1, V2 or Any")
    says(fault({ "a.Proxy", "Any" }, { "a.ProxyFrom", "device" }, { "a.ProxyInside", "On" }),
      "needs a.InitTLS=On and a.Proxy=V1, V2 or Any")
    says(fault({ "a.InitTLS", "On" }, { "a.ProxyInside", "On" }), "needs a.InitTLS=On and a.Proxy")
    assert.same({}, of({ "a.Proxy", "Any" }, { "a.ProxyFrom", "device" }, { "a.InitTLS", "On" }, { "a.ProxyInside", "On" }))
    assert.same({}, of({ "a.Proxy", "Any" }, { "a.ProxyFrom", "device" }, { "a.2.Port", "8101" }, { "a.2.Proxy", "Off" }))
    says(error_of("listeners.ini", { "http.Proxy", "V1" }), "here it can only have")
    says(of({ "a.ProxyFrom", "10.0.0.7" })[1], "conf/listeners.ini:2: a.ProxyFrom=10.0.0.7: nobody asks this list")
  end)
  it("is a limit that nothing ever comes to", function()
    says(of({ "a.RateHandshakes", "5/1s" })[1], "no TLS begins here (a.InitTLS is Off): this limits nobody")
    assert.same({}, of({ "a.RateHandshakes", "5/1s" }, { "a.InitTLS", "On" }))
    assert.same({}, of({ "a.RateHandshakes", "5/1s" }, { "a.2.Port", "8101" }, { "a.2.InitTLS", "On" }))
    says(of({ "a.RateRequests", "5/1s" }, { "a.Services", "tunnel" }, { "a.Backend", "192.0.2.7:25" })[1], "there are no requests")
    says(of({ "a.GiveWay", "On" })[1], "a.GiveWay=On: without a.MaxConnections there is always room")
    assert.same({}, of({ "a.GiveWay", "On" }, { "a.MaxConnections", "5" }))
  end)
  it("is a socket for a listener that has its sockets elsewhere", function()
    says(error_of("listeners.ini", { "http.Port", "81" }), "gets its sockets from tomcat.ini")
    local internal = error_of("listeners.ini", { "internal.Port", "1100" })
    says(internal, "gets its sockets from RMIPort (hub.ini, lui.ini, tracker.ini): here it can only have Restriction, ")
    assert.is_nil(internal:find("WhenMissing", 1, true))
    says(error_of("listeners.ini", { "communications.2.Port", "7001" }), "gets its sockets from CommunicationsPort (tracker.ini)")
    says(error_of("listeners.ini", { "shutdown.MaxConnections", "1" }), "ShutdownPort in tomcat.ini")
  end)
end)
