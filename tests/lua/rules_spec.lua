-- portreeve.rules: entries -> values with file and line; what is refused, what only warned about. Pure Lua, no C.
require("portreeve.sim").install()
local rules = require "portreeve.rules"
local settings = require "portreeve.settings"
local near = require "portreeve.near"

local function build(files)
  local input = {}
  for name, entries in pairs(files) do
    local list = {}
    for i, e in ipairs(entries) do
      list[i] = { key = e[1], value = e[2], line = e.line or i, bad_escape = e.bad_escape }
    end
    input[name] = { display = "conf/" .. name, entries = list }
  end
  return rules.build(input)
end

local function report_of(files)
  return select(2, build(files))
end

local function tomcat(...)
  return build { ["tomcat.ini"] = { ... } }
end

local function one_error(report, pattern)
  assert.is_truthy(report.errors[1], "an error was expected: " .. pattern)
  assert.is_truthy(report.errors[1]:find(pattern), report.errors[1])
  assert.equal(1, #report.errors)
end

local function one_warning(report, pattern)
  assert.same({}, report.errors)
  assert.is_truthy(report.warnings[1] and report.warnings[1]:find(pattern), tostring(report.warnings[1]))
  assert.equal(1, #report.warnings)
end

describe("Port and SecurePort", function()
  it("default to 80 and 443, with no file and line (M3, M45)", function()
    local r, report = build {}
    assert.same({ value = 80, file = "", line = 0, entry = "Port" }, r.tomcat.Port)
    assert.equal(443, r.tomcat.SecurePort.value)
    assert.same({}, report.errors)
    assert.same({}, report.warnings)
  end)
  it("carry file and line where written (M2, M44)", function()
    local r = tomcat({ "Port", "8080" }, { "SecurePort", "8443" })
    assert.same({ value = 8080, file = "conf/tomcat.ini", line = 1, entry = "Port", text = "8080" }, r.tomcat.Port)
    assert.equal(2, r.tomcat.SecurePort.line)
  end)
  it("may have blanks round them (M2)", function()
    assert.equal(8080, tomcat({ "Port", " 8080 \t" }).tomcat.Port.value)
  end)
  it("take 1 to 65535 (M3, E2, E12)", function()
    assert.equal(1, tomcat({ "Port", "1" }).tomcat.Port.value)
    assert.equal(65535, tomcat({ "Port", "65535" }).tomcat.Port.value)
  end)
  for _, bad in ipairs { "0", "65536", "-1", "80a", "0x50", "080", "+80", "8e1", "80.0", "8 0", "", " ", "99999999999999999999", "８０" } do
    it(("refuse %q, naming file, line, entry and value (M3)"):format(bad), function()
      local _, report = tomcat({ "Port", bad })
      one_error(report, "^conf/tomcat%.ini:1: Port=" .. bad:gsub("%p", "%%%0") .. ": ")
    end)
  end
  it("the last of two counts, with a warning that names both lines (I6, M3)", function()
    local r, report = tomcat({ "Port", "81" }, { "Port", "82" })
    assert.equal(82, r.tomcat.Port.value)
    one_warning(report, "^conf/tomcat%.ini:2: Port=82: .*line 1")
  end)
  it("port= is another name: the default stays, with a warning (M3, I6)", function()
    local r, report = tomcat({ "port", "81" })
    assert.equal(80, r.tomcat.Port.value)
    one_warning(report, "write Port")
  end)
end)

describe("BindAddress", function()
  local function items(text)
    local r, report = tomcat({ "BindAddress", text })
    if report.errors[1] then return nil, report.errors[1] end
    local out = {}
    for i, item in ipairs(r.tomcat.BindAddress.value) do
      out[i] = item.address .. (item.port and "#" .. item.port or "")
    end
    return table.concat(out, " "), report.warnings[1]
  end
  it("is nil where absent", function()
    assert.is_nil(build({}).tomcat.BindAddress)
  end)
  it("takes one item, many, IPv4 and IPv6 in each order (M10, M11)", function()
    assert.equal("192.0.2.1", (items "192.0.2.1"))
    assert.equal("192.0.2.1 ::1", (items "192.0.2.1, [::1]"))
    assert.equal("::1 192.0.2.1", (items "[::1],192.0.2.1"))
    local hundred = {}
    for i = 1, 100 do hundred[i] = "192.0.2." .. i end
    assert.equal(table.concat(hundred, " "), (items(table.concat(hundred, ","))))
  end)
  it("takes blanks, tabs and CR round commas (M17)", function()
    assert.equal("192.0.2.1 192.0.2.2 ::1", (items " 192.0.2.1 ,\t192.0.2.2,   [::1]\r"))
  end)
  it("takes ports (M13, M14)", function()
    assert.equal("192.0.2.1#8081 ::1#8082", (items "192.0.2.1:8081, [::1]:8082"))
    assert.equal("192.0.2.1#8081", (items "192.0.2.1: 8081"))
  end)
  it("compares addresses, not texts", function()
    assert.equal("::1", (items "[0:0:0:0:0:0:0:1]"))
    assert.equal("2001:db8::abcd", (items "[2001:DB8::ABCD]"))
    assert.equal("192.0.2.1", (items "[::ffff:192.0.2.1]"))
    local list, warning = items "[::1], [0:0:0:0:0:0:0:1]"
    assert.equal("::1", list)
    assert.is_truthy(warning:find "twice")
    assert.equal("::1 ::1#81", (items "[::1], [::1]:81"))
  end)
  it("takes a zone on link-local addresses only (M12)", function()
    assert.equal("fe80::1%eth0", (items "[fe80::1%eth0]"))
    assert.is_nil((items "[2001:db8::1%eth0]"))
  end)
  for _, bad in ipairs { "", " ", ",", "192.0.2.1,", ",192.0.2.1", "192.0.2.1,,192.0.2.2", "::1", "fe80::1", "fe80::1:8081", "[192.0.2.1]",
    "[::1", "::1]", ":8080",
    "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:70000", "192.0.2.1:htpp", "192.0.2.1:080", "[::1]:", "[::1]:0", "[::1]:70000", "[::1]8080",
    "[]", "[]:80",
    "192.168.001.001", "192.0.2", "192.0.2.256", "192.0.2.1.1", "localhost", "0x7f.0.0.1", "2130706433", "[:::1]", "[::1::]",
    "[1:2:3:4:5:6:7:8:9]",
    "[::1%]", "OnlyIPV4Addresses, [::1]", "192.0.2.1;192.0.2.2", "192.0.2.1 192.0.2.2" } do
    it(("refuses %q (M10, M12–M14)"):format(bad), function()
      local _, report = tomcat({ "BindAddress", bad })
      one_error(report, "^conf/tomcat%.ini:1: BindAddress=")
    end)
  end
  it("knows the two words, in any case with a remark (M8, M9)", function()
    assert.same({ family = 4 }, tomcat({ "BindAddress", "OnlyIPV4Addresses " }).tomcat.BindAddress.value)
    assert.same({ family = 6 }, tomcat({ "BindAddress", "OnlyIPV6Addresses" }).tomcat.BindAddress.value)
    local r, report = tomcat({ "BindAddress", "onlyipv4addresses" })
    assert.same({ family = 4 }, r.tomcat.BindAddress.value)
    one_warning(report, "OnlyIPV4Addresses")
  end)
end)

describe("SecureServer", function()
  it("is false where absent (M4)", function()
    assert.is_false(build({}).tomcat.SecureServer.value)
  end)
  it("takes true and false in any case, and lists of bare addresses", function()
    assert.is_true(tomcat({ "SecureServer", "true" }).tomcat.SecureServer.value)
    assert.is_true(tomcat({ "SecureServer", "TRUE" }).tomcat.SecureServer.value)
    assert.is_false(tomcat({ "SecureServer", " False " }).tomcat.SecureServer.value)
    assert.same({ { address = "192.0.2.1" }, { address = "::1" } },
      tomcat({ "SecureServer", "192.0.2.1, [::1]" }).tomcat.SecureServer.value)
  end)
  for _, bad in ipairs { "", "yes", "1", "on", "192.0.2.1:443", "[::1]:443", "true,192.0.2.1", "[192.0.2.1]", "192.0.2.1,",
    "OnlyIPV4Addresses" } do
    it(("refuses %q (M4)"):format(bad), function()
      local _, report = tomcat({ "SecureServer", bad })
      one_error(report, "^conf/tomcat%.ini:1: SecureServer=")
    end)
  end
end)

describe("Secure-ADDRESS", function()
  local function secure(key, value)
    local r, report = tomcat({ key, value })
    return r.tomcat.secure, report
  end
  it("takes IPv4, and IPv6 in brackets or with escaped colons", function()
    for key, address in pairs { ["Secure-192.0.2.1"] = "192.0.2.1", ["Secure-[fe80::1]"] = "fe80::1", ["Secure-fe80::1"] = "fe80::1" } do
      local x, report = secure(key, "shop")
      assert.same({}, report.errors)
      assert.equal(address, x[1].address)
      assert.equal("shop", x[1].value)
      assert.equal(1, x[1].line)
    end
  end)
  it("means the certificate default where empty or true", function()
    assert.equal("default", secure("Secure-192.0.2.1", "")[1].value)
    assert.equal("default", secure("Secure-192.0.2.1", "true")[1].value)
  end)
  it("refuses false, ports and what is no address", function()
    for key, value in pairs { ["Secure-192.0.2.1"] = "false", ["Secure-192.0.2.1:443"] = "x", ["Secure-[::1]:443"] = "x",
      ["Secure-localhost"] = "x", ["Secure-"] = "x",
      ["Secure-[192.0.2.1]"] = "x" } do
      local _, report = secure(key, value)
      assert.equal(1, #report.errors, key)
    end
  end)
  it("tells the right form where a colon cut the name", function()
    local function cut(key, value)
      return select(2, secure(key, value))
    end
    local report = cut("Secure-fe80", ":1=shop") -- what java.util.Properties makes of Secure-fe80::1=shop
    one_error(report, "write Secure%-%[fe80::1%]=shop")
    report = cut("Secure-2001", "db8::1=shop")
    one_error(report, "write Secure%-%[2001:db8::1%]=shop")
    report = cut("Secure-", ":1=")
    one_error(report, "write Secure%-%[::1%]=")
  end)
  it("warns where two names mean one address; the later counts", function()
    local r, report = tomcat({ "Secure-[::1]", "a" }, { "Secure-[0:0:0:0:0:0:0:1]", "b" })
    assert.equal(1, #r.tomcat.secure)
    assert.equal("b", r.tomcat.secure[1].value)
    one_warning(report, "line 1")
  end)
  it("secure-… in small letters is another name", function()
    local r, report = tomcat({ "secure-192.0.2.1", "" })
    assert.same({}, r.tomcat.secure)
    one_warning(report, "write Secure%-ADDRESS")
  end)
end)

describe("unknown entries", function()
  it("are warnings with the nearest name", function()
    local _, report = tomcat({ "SecureServr", "true" })
    one_warning(report, "did you mean SecureServer%?")
  end)
  it("have no guess where nothing is near", function()
    local _, report = tomcat({ "maxThreads", "1" })
    one_warning(report, "unknown entry, ignored$")
  end)
  it("the distance counts swapped letters as one", function()
    assert.equal(1, near.distance("Prot", "Port"))
    assert.equal(3, near.distance("", "abc"))
    assert.equal(0, near.distance("x", "x"))
  end)
end)

describe("internal ports", function()
  it("are 1099 where nothing is written (M51, M53, M54)", function()
    assert.equal(1099, build({}).internal_port.value)
  end)
  it("must be equal on one server; both files are named (M49)", function()
    local _, report = build { ["hub.ini"] = { { "RMIPort", "5310" } }, ["lui.ini"] = { { "RMIPort", "5311" } },
      ["tracker.ini"] = { { "RMIPort", "5310" } } }
    assert.is_truthy(report.errors[1]:find("hub.ini", 1, true) and report.errors[1]:find("lui.ini", 1, true) or
      report.errors[1]:find("tracker.ini", 1, true) and report.errors[1]:find("lui.ini", 1, true), report.errors[1])
  end)
  it("of components that are not installed here do not count (S6)", function()
    local r, report = build { ["portreeve.ini"] = { { "Components", "hub" } }, ["hub.ini"] = { { "RMIPort", "5310" } } }
    assert.same({}, report.errors)
    assert.equal(5310, r.internal_port.value)
    assert.same({ hub = true }, r.components)
  end)
end)

describe("listeners.ini", function()
  it("gives each name a section with defaults", function()
    local r, report = build { ["listeners.ini"] = { { "a.Port", "0" }, { "b.Port", "81" }, { "a.InitTLS", "on" } } }
    assert.same({}, report.errors)
    assert.same({ "a", "b" }, { r.listeners[1].name, r.listeners[2].name })
    assert.equal("On", r.listeners[1].InitTLS.value)
    assert.equal(0, r.listeners[1].Port.value)
    assert.equal(511, r.listeners[2].Backlog.value)
  end)
  it("refuses what cannot work", function()
    for _, case in ipairs {
      { { { "a.Address", "127.0.0.1" } }, "a%.Port" }, { { { "a.Port", "x" } },
        "a%.Port=x" }, { { { "a.Port", "1" }, { "a.InitTLS", "Maybe" } }, "Off, On, Ext" },
      { { { "a.Port", "1" }, { "a.Restriction", "Grant" } }, "a%.List" }, { { { "http.Port", "1" } },
        "listener http" }, { { { "Port", "1" } }, "NAME%.Entry" },
      { { { "a.Port", "1" }, { "a.Services", "tracker,web" } }, "a%.Services=tracker,web" }, { { { "a b.Port", "1" } }, "NAME%.Entry" },
      { { { "a.Port", "1" }, { "a.MaxConnections", "-1" } }, "a%.MaxConnections" } } do
      local _, report = build { ["listeners.ini"] = case[1] }
      one_error(report, case[2])
    end
  end)
  it("lets the built-in listeners have limits", function()
    local r, report = build { ["listeners.ini"] = { { "http.MaxPerAddress", "20" } } }
    assert.same({}, report.errors)
    assert.equal(20, r.listeners[1].MaxPerAddress.value)
  end)
  it("warns of a reserve without maximum (G26)", function()
    local _, report = build { ["listeners.ini"] = { { "http.Reserve", "20" } } }
    one_warning(report, "keeps nobody out")
  end)
end)

describe("certificates.ini", function()
  it("keeps names, and secrets out of messages", function()
    local r, report = build { ["certificates.ini"] = { { "a.Certificate", "x.p12" }, { "a.Password", "sesame" },
      { "a.Names", "A.example, *.b.example" } } }
    assert.same({}, report.errors)
    local c = rules.for_gate(r).certificates[1]
    assert.same({ "a", "x.p12", "sesame", "a.example,*.b.example", "a.Certificate" },
      { c.name, c.certificate, c.password, c.names, c.entry })
    report = report_of { ["certificates.ini"] = { { "a.Certificate", "x" }, { "a.Password", "sesame" }, { "a.Password", "other" } } }
    one_warning(report, "a%.Password=%*%*%*: ")
    report = report_of { ["certificates.ini"] = { { "a.Certificate", "x" }, { "a.Pasword", "sesame" } } }
    one_warning(report, "a%.Pasword=%*%*%*: .*did you mean Password")
  end)
  it("warns of single backslashes in paths (I4)", function()
    local _, report = build { ["certificates.ini"] = { { "a.Certificate", "Cdir", bad_escape = true } } }
    one_warning(report, "backslash")
  end)
  it("needs a file, and one way to the password", function()
    local _, report = build { ["certificates.ini"] = { { "a.Key", "k" } } }
    one_error(report, "a%.Certificate")
    report = report_of { ["certificates.ini"] = { { "a.Certificate", "c" }, { "a.Password", "p" }, { "a.PasswordFile", "f" } } }
    one_error(report, "not both")
  end)
end)

describe("transport", function()
  local function refused(list, why)
    local all = { { "a.Port", "5001" }, { "a.Services", "remote-log" } }
    for _, e in ipairs(list) do all[#all + 1] = e end
    one_error(report_of { ["listeners.ini"] = all }, why)
  end
  it("UDP has no TLS (G16), no counts (G23), and carries remote-log only", function()
    refused({ { "a.Transport", "UDP" }, { "a.InitTLS", "On" } }, "listeners%.ini:4: a%.InitTLS=On: TLS is for TCP only.*a%.InitTLS=Off")
    refused({ { "a.Transport", "UDP" }, { "a.InitTLS", "Ext" }, { "a.Address", "127.0.0.1" } }, "a%.InitTLS=Ext: TLS is for TCP only")
    refused({ { "a.InitTLS", "On" }, { "a.2.Port", "5001" }, { "a.2.Transport", "UDP" } }, "TLS is for TCP only.*a%.2%.InitTLS=Off")
    refused({ { "a.Transport", "UDP" }, { "a.Services", "tracker" } }, "a%.Transport=UDP: UDP carries remote%-log only")
    refused({ { "a.Transport", "both" } }, "a%.Transport=both: not one of TCP, UDP")
    local report = report_of { ["listeners.ini"] = { { "a.Port", "5001" }, { "a.Services", "remote-log" }, { "a.Transport", "UDP" },
      { "a.MaxPerAddress", "3" } } }
    assert.same({}, report.errors)
    assert.is_truthy(report.warnings[1]:find("a.MaxPerAddress=3: limits of connections are for TCP only", 1, true))
  end)
  it("a protocol has its socket to itself, a script its name", function()
    refused({ { "a.Services", "remote-log,tracker" } }, "remote%-log has a protocol of its own")
    refused({ { "a.Services", "script" } }, "a%.Services=script: which script%? add a%.Script=NAME for policies/NAME%.lua")
  end)
end)

describe("overrides", function()
  local function with(set, files)
    files = files or {}
    files["--set"] = set
    return build(files)
  end
  it("win over the file, silently, and may name port 0", function()
    local r, report = with({ { "tomcat.ini", "Port=0" } }, { ["tomcat.ini"] = { { "Port", "8080" } } })
    assert.same({}, report.errors)
    assert.same({}, report.warnings)
    assert.same({ value = 0, file = "--set", line = 0, entry = "Port", text = "0" }, r.tomcat.Port)
    r = with { { "tomcat.ini", "BindAddress=127.0.0.1:0" } }
    assert.equal(0, r.tomcat.BindAddress.value[1].port)
  end)
  it("are as strict as files", function()
    local _, report = with { { "tomcat.ini", "Port=x" } }
    one_error(report, "^%-%-set: Port=x: ")
    report = select(2, with({ { "nosuch.ini", "Port=1" } }))
    one_error(report, "no such file")
    report = select(2, with({ { "tomcat.ini", "Port" } }))
    one_error(report, "FILE:ENTRY=VALUE")
  end)
  it("do not change what was handed in", function()
    local files = { ["tomcat.ini"] = { display = "t", entries = {} },
      ["--set"] = { entries = { { key = "tomcat.ini", value = "Port=1", line = 1 } } } }
    rules.build(files)
    assert.equal(0, #files["tomcat.ini"].entries)
  end)
end)

describe("settings", function()
  it("are the same table in Lua and C", function()
    local f = assert(io.open("src/plan/plan.h"))
    local text, i = f:read "a", 0
    f:close()
    for field, entry, least, most, default, unit, what in text:gmatch 'X%(([%w_]+), "(%w+)", (%d+), (%d+), (%d+), "([^"]+)", "([^"]+)"%)' do
      i = i + 1
      assert.same({ field, entry, tonumber(least), tonumber(most), tonumber(default), unit, what }, settings[i])
    end
    assert.equal(#settings, i)
  end)
  it("are all explained in conf/portreeve.ini, with their default", function()
    local f = assert(io.open("conf/portreeve.ini"))
    local text = f:read "a"
    f:close()
    for _, s in ipairs(settings) do
      local words, default = {}, tostring(s[5])
      for word in s[6]:gmatch "[^|]+" do words[#words + 1] = word end
      if #words > 1 then default = words[s[5] + 1] end
      assert.is_truthy(text:find("\n#" .. s[2] .. "=" .. default .. "\n", 1, true), s[2])
    end
  end)
  it("are read by name or number within their range", function()
    local r, report = build { ["portreeve.ini"] = { { "Durability", "Fast" }, { "Workers", "4" }, { "LogFormat", "json" } } }
    assert.same({}, report.errors)
    local g = rules.for_gate(r)
    assert.same({ 0, 4, 1, 3 }, { g.settings.durable, g.settings.workers, g.settings.log_json, g.settings.tracking })
    report = report_of { ["portreeve.ini"] = { { "Workers", "257" }, { "Durability", "never" }, { "Components", "tracker,mail" } } }
    assert.equal(3, #report.errors)
  end)
end)

it("messages are bounded", function()
  local entries = {}
  for i = 1, 500 do entries[i] = { "unknown" .. i, ("x"):rep(5000) } end
  local _, report = build { ["tomcat.ini"] = entries }
  assert.equal(50, #report.warnings)
  assert.equal(450, report.more)
  assert.is_true(#report.warnings[1] < 400)
end)

describe("the short files alone", function()
  it("are the sections that the whole has, with what they say about each other", function()
    local function e(key, value, line) return { key = key, value = value, line = line } end
    local files = {
      ["hub.ini"] = { display = "conf/hub.ini", entries = { e("RMIPort", "inner", 1) } },
      ["lui.ini"] = { display = "conf/lui.ini", entries = { e("RMIPort", "5310", 1), e("TrackerHost", "news.example.org: 7100", 2) } },
      ["tracker.ini"] = { display = "conf/tracker.ini", entries = { e("TrackerId", "trk9", 3), e("RMIPort", "5310", 4) } },
      ["tomcat.ini"] = { display = "conf/tomcat.ini", entries = { e("Port", "none", 1) } },
      ["--set"] = { display = "--set", entries = { e("tracker.ini", "UndoDays=7", 1) } },
      services = { display = "conf/services", text = "INNER 5310/tcp" },
    }
    local short, report = rules.build(files, true, true)
    assert.same({}, report.errors) -- those of other files are not its business
    files["tomcat.ini"] = nil
    local whole = rules.build(files)
    for _, name in ipairs { "hub", "lui", "tracker", "portreeve", "components" } do
      assert.same(whole[name], short[name])
    end
    assert.same({ 7, 5310, 7100 }, { short.tracker.UndoDays.value, short.lui.HubRMIPort.value, short.lui.TrackerCommunicationsPort.value })
    assert.is_nil(short.tomcat)
  end)
end)

describe("a tunnel", function()
  local function tunnel(...)
    return build { ["listeners.ini"] = { { "t.Port", "8125" }, ... } }
  end
  local function refused(pattern, ...)
    one_error(select(2, tunnel(...)), pattern)
  end

  it("leads to addresses, in the order in which they are tried (Q13)", function()
    local r, report = tunnel({ "t.Services", "Tunnel" },
      { "t.Backend", " 192.0.2.7:SMTP , [2001:DB8::1]:25,unix:/run/mail " }, { "t.SendProxy", "v2" })
    assert.same({}, report.errors)
    local t = r.listeners[1]
    assert.equal("192.0.2.7:25,[2001:db8::1]:25,unix:/run/mail", t.Backend.value)
    assert.equal("V2", t.SendProxy.value)
    assert.same({ "conf/listeners.ini", 3, "t.Backend" }, { t.Backend.file, t.Backend.line, t.Backend.entry })
  end)
  it("for TLS, leads by the name that is asked for", function()
    local r, report = tunnel({ "t.Services", "tls-tunnel" }, { "t.Backend-Mail.Example.org.", "192.0.2.7:993" },
      { "t.Backend-*.example.org", "192.0.2.8:993" }, { "t.2.Port", "8126" }, { "t.3.Port", "8127" },
      { "t.3.Backend-x.net", "192.0.2.9:1" })
    assert.same({}, report.errors)
    local function names(line)
      local out = {}
      for i, e in ipairs(line.keyed.Backend) do out[i] = e.key .. "=" .. e.value end
      return out
    end
    local t = r.listeners[1]
    local two = { "mail.example.org=192.0.2.7:993", "*.example.org=192.0.2.8:993" }
    assert.same({ two, two, { "x.net=192.0.2.9:1" } }, { names(t), names(t.sockets[2]), names(t.sockets[3]) })
  end)
  it("is refused with its line where it leads nowhere, or is beside something else", function()
    refused("listeners.ini:2: t.Services=tunnel: a tunnel needs a backend: add t.Backend=", { "t.Services", "tunnel" })
    refused("t.Services=tunnel,hub: tunnel has a protocol of its own", { "t.Services", "tunnel,hub" }, { "t.Backend", "192.0.2.7:25" })
    refused("t.Backend=192.0.2.7:25: only a tunnel has a backend", { "t.Backend", "192.0.2.7:25" })
    refused("t.SendProxy=V1: a PROXY header is sent to the backend of a tunnel", { "t.SendProxy", "V1" })
    refused("t.InitTLS=On: a tunnel does not end TLS", { "t.Services", "tunnel" }, { "t.InitTLS", "On" }, { "t.Backend", "192.0.2.7:25" })
    refused("does not see the name", { "t.Services", "tunnel" }, { "t.Backend-x.net", "192.0.2.7:25" })
    refused("line 3 %(t.Backend%-x.net%) is for the same name", { "t.Services", "tls-tunnel" }, { "t.Backend-x.net", "192.0.2.7:1" },
      { "t.Backend-X.NET", "192.0.2.7:2" })
  end)
  it("is refused where a backend is no address and port", function()
    for value, pattern in pairs {
      ["mail.example.org:25"] = "host names are not looked up here", ["192.0.2.7"] = "has no port", ["0.0.0.0:25"] = "address for all",
      ["192.0.2.7:25,192.0.2.7:25"] = "is there twice", ["192.0.2.7:25,"] = "an address is missing", [""] = "an address is missing",
      ["unix:mail"] = "unix:/PATH", ["::1:25"] = "::1", ["192.0.2.7:0"] = "192.0.2.7:0", ["192.0.2.7:NOSUCH"] = "NOSUCH",
      [("192.0.2.7:%d,"):rep(9):format(1, 2, 3, 4, 5, 6, 7, 8, 9):sub(1, -2)] = "more than 8 addresses",
    } do
      refused(pattern, { "t.Services", "tunnel" }, { "t.Backend", value })
    end
    for _, name in ipairs { "a..b", "a b", "*", "-", "x/y" } do
      local _, report = tunnel({ "t.Services", "tls-tunnel" }, { "t.Backend", "192.0.2.7:1" }, { "t.Backend-" .. name, "192.0.2.7:1" })
      assert.equal(name == "-" and 0 or 1, #report.errors, name)
    end
  end)
end)
