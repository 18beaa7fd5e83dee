-- policies/bind.lua as a pure function: the twelve rows of the bind table (M7) with IPv4, IPv6 and mixed addresses, and their edge cases.
-- What each row must give is written here a second time, from requirements.md, without the policy's own helpers.
local sim = require "portreeve.sim"
sim.install()
local fake = require "portreeve.fake"
local bind = sim.policy "policies/bind.lua"

-- Four addresses of the machine in each set: a1 … a4.
local sets = {
  IPv4 = { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4" },
  IPv6 = { "2001:db8::1", "2001:db8::2", "2001:db8::3", "fe80::4%eth0" },
  mixed = { "192.0.2.1", "2001:db8::2", "192.0.2.3", "fe80::4%eth0" },
}

local function br(a)
  return a:find(":", 1, true) and "[" .. a .. "]" or a
end

local function run(entries, host, more)
  local files = { ["tomcat.ini"] = entries, ["portreeve.ini"] = { { "Components", "tracker,ui,hub" } } }
  for name, list in pairs(more or {}) do files[name] = list end
  local rules, warnings = fake.rules(files)
  return bind(rules, host), warnings
end

local function sorted(list)
  table.sort(list)
  return list
end

local function sockets(p)
  assert.same({}, p.errors)
  return sorted(fake.sockets(p))
end

local function rows_of(p)
  local out = {}
  for _, s in ipairs(p.sockets) do
    if s.name == "http" then out[s.because.row] = true end
  end
  return out
end

for set, a in pairs(sets) do
  local host = fake.host({ a[1], a[2], a[3], a[4] }, true)
  -- B = a1, a2 with a port of its own; S = a2, a3; X = a1 (certificate one), a4 (default). So each of B∩X, B∩S, X∖B, S∖B, B∖(X∪S) … occurs.
  local B = { "BindAddress", ("%s, %s:8081"):format(br(a[1]), br(a[2])) }
  local S = { "SecureServer", ("%s, %s"):format(br(a[2]), br(a[3])) }
  local X1, X4 = { "Secure-" .. br(a[1]), "one" }, { "Secure-" .. br(a[4]), "" }
  local yes, no = { "SecureServer", "true" }, { "SecureServer", "false" }
  local function http(i, port) return ("http://%s:%d"):format(br(a[i]), port) end
  local function tls(i, port, cert) return ("https://%s:%d %s"):format(br(a[i]), port, cert or "default") end

  local rows = {
    R1 = { { no }, { "http://0.0.0.0:80", "http://[::]:80" } },
    R2 = { { no, X1, X4 }, { tls(1, 443, "one"), tls(4, 443) } },
    R3 = { { yes }, { "https://0.0.0.0:443 default", "https://[::]:443 default" } },
    R4 = { { yes, X1 }, { tls(1, 443, "one"), tls(2, 443), tls(3, 443), tls(4, 443) } },
    R5 = { { S }, { tls(2, 443), tls(3, 443) } },
    R6 = { { S, X1, X4 }, { tls(1, 443, "one"), tls(2, 443), tls(3, 443), tls(4, 443) } },
    R7 = { { B, no }, { http(1, 80), http(2, 8081) } },
    R8 = { { B, no, X1, X4 }, { tls(1, 443, "one"), http(2, 8081) } },
    R9 = { { B, yes }, { tls(1, 443), tls(2, 8081) } },
    R10 = { { B, yes, X1, X4 }, { tls(1, 443, "one"), tls(2, 8081) } },
    R11 = { { B, S }, { http(1, 80), tls(2, 8081) } },
    R12 = { { B, S, X1, X4 }, { tls(1, 443, "one"), tls(2, 8081) } },
  }
  describe(set, function()
    for name, case in pairs(rows) do
      it(name .. ": exactly the sockets of the table (M7)", function()
        local p = run(case[1], host)
        assert.same(sorted(case[2]), sockets(p))
        assert.same({ [name] = true }, rows_of(p))
      end)
      it(name .. ": order of the entries does not matter", function()
        local turned = {}
        for i = #case[1], 1, -1 do turned[#turned + 1] = case[1][i] end
        assert.same(sockets(run(case[1], host)), sockets(run(turned, host)))
      end)
      it(name .. ": Port and SecurePort are what unwritten ports become (M5, M15, M44)", function()
        local entries = { { "Port", "8080" }, { "SecurePort", "8443" } }
        for _, e in ipairs(case[1]) do entries[#entries + 1] = e end
        local want = {}
        for i, s in ipairs(case[2]) do want[i] = s:gsub(":80$", ":8080"):gsub(":443", ":8443") end
        assert.same(sorted(want), sockets(run(entries, host)))
      end)
    end
    it("R8, R10, R12: secure addresses outside BindAddress are named in one warning each", function()
      for _, name in ipairs { "R8", "R10", "R12" } do
        local p, n = run(rows[name][1], host), 0
        for _, w in ipairs(p.warnings) do
          if w:find(a[4], 1, true) then n = n + 1 end
          assert.is_truthy(w:find "is not in BindAddress", w)
        end
        assert.equal(1, n)
        assert.equal(name == "R12" and 2 or 1, #p.warnings) -- R12: a3 of the list as well
      end
    end)
    it("R11: S∖B is ignored with a warning", function()
      local p = run(rows.R11[1], host)
      assert.equal(1, #p.warnings)
      assert.is_truthy(p.warnings[1]:find(a[3], 1, true))
    end)
    it("R8, R11: an empty intersection is all HTTP, a full one all HTTPS", function()
      assert.same(sorted { http(1, 80), http(2, 8081) }, sockets(run({ B, X4 }, host)))
      assert.same(sorted { tls(1, 443, "one"), tls(2, 8081) }, sockets(run({ B, X1, { "Secure-" .. br(a[2]), "" } }, host)))
      assert.same(sorted { http(1, 80), http(2, 8081) }, sockets(run({ B, { "SecureServer", br(a[3]) } }, host)))
      assert.same(sorted { tls(1, 443), tls(2, 8081) }, sockets(run({ B, { "SecureServer", br(a[1]) .. "," .. br(a[2]) } }, host)))
    end)
    it("R4, R6, R12: an address in S and X is one socket with the certificate of X", function()
      local both = { "SecureServer", br(a[1]) }
      assert.same({ tls(1, 443, "one") }, sockets(run({ both, X1 }, host)))
      assert.same(sorted { tls(1, 443, "one"), http(2, 8081) }, sockets(run({ B, both, X1 }, host)))
      local p = run({ yes, X1 }, host)
      assert.same(sorted { tls(1, 443, "one"), tls(2, 443), tls(3, 443), tls(4, 443) }, sockets(p))
    end)
    it("every socket says why: file, line, entry, row, policy line", function()
      for _, s in ipairs(run({ B, X1 }, host).sockets) do
        assert.is_truthy(s.because.policy:find "^policies/bind%.lua:%d+$", s.because.policy)
        if s.name == "http" then
          assert.same({ "conf/tomcat.ini", 1, "BindAddress", "R8" }, { s.because.file, s.because.line, s.because.entry, s.because.row })
        end
      end
      assert.equal("Secure-" .. br(a[1]), run({ X1 }, host).sockets[1].because.entry)
      assert.equal("SecureServer", run({ S }, host).sockets[1].because.entry)
    end)
  end)
end

local host = fake.host { "127.0.0.1", "192.0.2.1", "192.0.2.2", "::1", "2001:db8::1", "fe80::1%eth0" }

describe("wildcards", function()
  it("R1, R3 without IPv6: IPv4 only and one warning (M1)", function()
    local v4 = fake.host { "127.0.0.1", "192.0.2.1" }
    local p = run({}, v4)
    assert.same({ "http://0.0.0.0:80" }, sockets(p))
    assert.equal(1, #p.warnings)
    p = run({ { "SecureServer", "true" } }, v4)
    assert.same({ "https://0.0.0.0:443 default" }, sockets(p))
    assert.equal(1, #p.warnings)
  end)
  it("written in a list they are addresses like others (M7)", function()
    assert.same({ "http://0.0.0.0:80" }, sockets(run({ { "BindAddress", "0.0.0.0" } }, host)))
    assert.same({ "http://[::]:80" }, sockets(run({ { "BindAddress", "[::]" } }, host)))
  end)
end)

describe("R4", function()
  it("has no wildcard, on hosts of 1, 2 and 50 addresses", function()
    for _, n in ipairs { 1, 2, 50 } do
      local list, want = {}, {}
      for i = 1, n do
        list[i] = "192.0.2." .. i
        want[i] = ("https://192.0.2.%d:443 %s"):format(i, i == 1 and "one" or "default")
      end
      assert.same(sorted(want), sockets(run({ { "SecureServer", "true" }, { "Secure-192.0.2.1", "one" } }, fake.host(list))))
    end
  end)
  it("leaves tentative addresses out, with a warning", function()
    local h = fake.host { "192.0.2.1", "2001:db8::1" }
    h.addresses[2].tentative = true
    local p = run({ { "SecureServer", "true" }, { "Secure-192.0.2.1", "" } }, h)
    assert.same({ "https://192.0.2.1:443 default" }, sockets(p))
    assert.is_truthy(p.warnings[1]:find "2001:db8::1 is still being checked for duplicates and is left out")
  end)
  it("warns of a secure address that the machine does not have", function()
    local p = run({ { "SecureServer", "true" }, { "Secure-198.51.100.1", "" } }, fake.host { "192.0.2.1" })
    assert.same({ "https://192.0.2.1:443 default" }, sockets(p))
    assert.is_truthy(p.warnings[1]:find "198.51.100.1 is not an address of this machine")
  end)
  it("gives a link-local address its interface, and each of two interfaces its own", function()
    local h = fake.host { "fe80::1%eth0", "fe80::1%eth1" }
    assert.same({ "https://[fe80::1%eth0]:443 default", "https://[fe80::1%eth1]:443 default" },
      sockets(run({ { "SecureServer", "true" }, { "Secure-[fe80::1%eth0]", "" } }, h)))
  end)
end)

describe("ports", function()
  it("a written port stays, also where the address turns out HTTPS (M5)", function()
    assert.same({ "https://192.0.2.1:9000 default" },
      sockets(run({ { "BindAddress", "192.0.2.1:9000" }, { "Secure-192.0.2.1", "" } }, host)))
  end)
  it("Port and SecurePort may be equal on different addresses (M5)", function()
    assert.same({ "http://192.0.2.2:8080", "https://192.0.2.1:8080 default" },
      sockets(run({ { "Port", "8080" }, { "SecurePort", "8080" }, { "BindAddress", "192.0.2.1,192.0.2.2" }, { "Secure-192.0.2.1", "" } },
        host)))
  end)
  it("one address with two ports is two sockets, with one port one socket and a warning", function()
    assert.same({ "http://192.0.2.1:80", "http://192.0.2.1:81" }, sockets(run({ { "BindAddress", "192.0.2.1,192.0.2.1:81" } }, host)))
    local p = run({ { "BindAddress", "192.0.2.1,192.0.2.1:80" } }, host)
    assert.same({ "http://192.0.2.1:80" }, sockets(p))
    assert.is_truthy(p.warnings[1]:find "twice")
  end)
  it("the examples of the source (M19, M20, M21)", function()
    local own = fake.host { "192.168.1.1", "192.168.1.2", "fe80::1%eth0" }
    assert.same({ "http://192.168.1.1:80" }, sockets(run({ { "BindAddress", "192.168.1.1" } }, own)))
    assert.same({ "http://192.168.1.1:80", "http://192.168.1.2:80", "http://[fe80::1%eth0]:80" },
      sockets(run({ { "BindAddress", "192.168.1.1, 192.168.1.2, [fe80::1]" } }, own)))
    assert.same({ "http://192.168.1.1:80", "http://192.168.1.2:8081", "http://[fe80::1%eth0]:8082" },
      sockets(run({ { "BindAddress", "192.168.1.1, 192.168.1.2:8081, [fe80::1]:8082" } }, own)))
  end)
end)

describe("OnlyIPV4Addresses, OnlyIPV6Addresses", function()
  local v4, v6 = { "BindAddress", "OnlyIPV4Addresses" }, { "BindAddress", "OnlyIPV6Addresses" }
  local yes = { "SecureServer", "true" }
  it("R7, R9: one wildcard of the family (M8, M9)", function()
    assert.same({ "http://0.0.0.0:80" }, sockets(run({ v4 }, host)))
    assert.same({ "http://[::]:80" }, sockets(run({ v6 }, host)))
    assert.same({ "https://0.0.0.0:443 default" }, sockets(run({ v4, yes }, host)))
    assert.same({ "https://[::]:443 default" }, sockets(run({ v6, yes }, host)))
  end)
  it("R8, R11, R12: a socket for each address, since they differ", function()
    assert.same({ "http://127.0.0.1:80", "http://192.0.2.2:80", "https://192.0.2.1:443 one" },
      sockets(run({ v4, { "Secure-192.0.2.1", "one" } }, host)))
    assert.same({ "http://127.0.0.1:80", "http://192.0.2.1:80", "https://192.0.2.2:443 default" },
      sockets(run({ v4, { "SecureServer", "192.0.2.2" } }, host)))
    assert.same({ "http://[::1]:80", "https://[2001:db8::1]:443 default", "https://[fe80::1%eth0]:443 one" },
      sockets(run({ v6, { "SecureServer", "[2001:db8::1]" }, { "Secure-[fe80::1]", "one" } }, host)))
  end)
  it("R10: a socket for each address, since certificates differ", function()
    assert.same({ "https://127.0.0.1:443 default", "https://192.0.2.1:443 one", "https://192.0.2.2:443 default" },
      sockets(run({ v4, yes, { "Secure-192.0.2.1", "one" } }, host)))
  end)
  it("secure addresses of the other family are ignored with a warning", function()
    local p = run({ v4, { "Secure-[::1]", "" } }, host)
    assert.is_truthy(p.warnings[1]:find "::1 is not in BindAddress")
  end)
  it("OnlyIPV6Addresses on a machine without IPv6 is refused (M9)", function()
    local p = run({ v6 }, fake.host { "127.0.0.1" })
    assert.same({}, fake.sockets(p))
    assert.is_truthy(p.errors[1]:find "^conf/tomcat%.ini:1: BindAddress: this machine has no IPv6")
  end)
end)

describe("link-local addresses (M20)", function()
  it("two owners: %zone is asked for", function()
    local p = run({ { "BindAddress", "[fe80::1]" } }, fake.host { "fe80::1%eth0", "fe80::1%eth1" })
    assert.is_truthy(p.errors[1]:find("say which, as in [fe80::1%eth0]", 1, true), p.errors[1])
    assert.same({ "http://[fe80::1%eth1]:80" },
      sockets(run({ { "BindAddress", "[fe80::1%eth1]" } }, fake.host { "fe80::1%eth0", "fe80::1%eth1" })))
  end)
  it("no owner: not on this machine", function()
    local p = run({ { "BindAddress", "[fe80::9]" } }, host)
    assert.is_truthy(p.errors[1]:find "^conf/tomcat%.ini:1: BindAddress: fe80::9: address not on this machine")
  end)
  it("with and without zone they match (R8)", function()
    assert.same({ "https://[fe80::1%eth0]:443 one" },
      sockets(run({ { "BindAddress", "[fe80::1%eth0]" }, { "Secure-[fe80::1]", "one" } }, host)))
    assert.same({ "https://[fe80::1%eth0]:443 one" },
      sockets(run({ { "BindAddress", "[fe80::1]" }, { "Secure-[fe80::1%eth0]", "one" } }, host)))
  end)
  it("tentative: waits, found to be a duplicate: refused", function()
    local h = fake.host { "fe80::1%eth0" }
    h.addresses[1].tentative = true
    assert.same({ "http://[fe80::1%eth0]:80 (waiting)" }, sockets(run({ { "BindAddress", "[fe80::1]" } }, h)))
    h.addresses[1].tentative, h.addresses[1].duplicate = false, true
    assert.is_truthy(run({ { "BindAddress", "[fe80::1]" } }, h).errors[1]:find "another machine has this address too")
  end)
end)

describe("components", function()
  it("carry their services on every main socket (M22)", function()
    for _, s in ipairs(run({}, host).sockets) do
      if s.name == "http" then assert.same({ "tracker", "ui", "hub" }, s.services) end
    end
  end)
  it("that are not installed have no service and no port (S6, M24–M26)", function()
    local function names(components)
      local p, out = run({}, host, { ["portreeve.ini"] = { { "Components", components } } }), {}
      for _, s in ipairs(p.sockets) do out[#out + 1] = s.name .. ":" .. s.port .. ":" .. table.concat(s.services, "+") end
      return sorted(out)
    end
    assert.same({ "http:80:hub", "http:80:hub", "internal:1099:internal", "internal:1099:internal", "shutdown:8007:shutdown" },
      names "hub")
    assert.same({ "communications:7000:transfer", "communications:7000:transfer", "http:80:tracker", "http:80:tracker",
      "internal:1099:internal",
      "internal:1099:internal", "shutdown:8007:shutdown" }, names "tracker")
  end)
  it("RMIPort and CommunicationsPort move the internal ports (M51–M54)", function()
    local p = run({}, host, { ["hub.ini"] = { { "RMIPort", "5310" } }, ["lui.ini"] = { { "RMIPort", "5310" } },
      ["tracker.ini"] = { { "RMIPort", "5310" }, { "CommunicationsPort", "7100" } } })
    assert.same({ "http://0.0.0.0:5310", "http://[::]:5310" }, fake.sockets(p, "internal"))
    assert.same({ "http://0.0.0.0:7100", "http://[::]:7100" }, fake.sockets(p, "communications"))
  end)
end)

describe("listeners.ini", function()
  local function with(entries)
    return run({}, host, { ["listeners.ini"] = entries, ["portreeve.ini"] = { { "Components", "tracker" } } })
  end
  it("opens addresses, families and all (G2, G8)", function()
    local p = with { { "a.Port", "81" }, { "a.Address", "127.0.0.1, [::1]:82" }, { "b.Port", "83" }, { "c.Port", "84" },
      { "c.Address", "OnlyIPV6Addresses" } }
    assert.same({ "http://127.0.0.1:81", "http://[::1]:82" }, fake.sockets(p, "a"))
    assert.same({ "http://0.0.0.0:83", "http://[::]:83" }, fake.sockets(p, "b"))
    assert.same({ "http://[::]:84" }, fake.sockets(p, "c"))
  end)
  it("leaves out what is not installed; nothing left is no listener, with a warning (S6)", function()
    local p = with { { "a.Port", "81" }, { "a.Services", "hub,tracker" }, { "b.Port", "82" }, { "b.Services", "hub,ui" } }
    for _, s in ipairs(p.sockets) do
      if s.name == "a" then assert.same({ "tracker" }, s.services) end
    end
    assert.same({}, fake.sockets(p, "b"))
    assert.is_truthy(p.warnings[1]:find "listener b is installed here")
  end)
  it("passes limits on, for built-in listeners too (G11, G24, G26, G27)", function()
    local p = with { { "a.Port", "81" }, { "a.Restriction", "Deny" }, { "a.List", "bad" }, { "a.Reserve", "2" },
      { "a.MaxConnections", "9" },
      { "http.MaxPerAddress", "5" }, { "internal.Backlog", "7" } }
    for _, s in ipairs(p.sockets) do
      if s.name == "a" then assert.same({ "deny", "bad", 2, 9 }, { s.restriction, s.list, s.reserve, s.max_connections }) end
      if s.name == "http" then assert.equal(5, s.max_per_address) end
      if s.name == "internal" then assert.same({ "grant", "components", 7 }, { s.restriction, s.list, s.backlog }) end
    end
  end)
  it("tells where the entries stand by which callers are refused, for each row", function()
    local p = with { { "a.Port", "81" }, { "a.Restriction", "Grant" }, { "a.List", "good" }, { "a.MaxPerAddress", "5" },
      { "a.2.Port", "82" }, { "a.2.List", "better" }, { "a.3.Port", "83" }, { "a.3.Restriction", "None" },
      { "a.4.Port", "84" }, { "a.4.Proxy", "V1" }, { "a.4.ProxyFrom", "devices" },
      { "internal.List", "never" }, { "internal.MaxPerAddress", "9" } }
    local lines = {}
    for _, s in ipairs(p.sockets) do
      lines[s.name == "internal" and s.name or s.port] = s.limit_lines
    end
    assert.same({ List = 3, MaxPerAddress = 4 }, lines[81])
    assert.same({ List = 6, MaxPerAddress = 4 }, lines[82])
    assert.same({ MaxPerAddress = 4 }, lines[83])
    assert.same({ List = 3, MaxPerAddress = 4, Proxy = 10, ProxyFrom = 11 }, lines[84])
    assert.same({ MaxPerAddress = 13 }, lines.internal) -- its list is the policy's own
  end)
end)

it("a plan's constructor refuses what a plan cannot have", function()
  local plan = require "portreeve.plan"
  local p = plan.new()
  assert.has_error(function() p:socket { name = "x" } end)
  assert.has_error(function()
    p:socket { name = "x", address = "127.0.0.1", port = "80", scheme = "http", services = {}, because = {} }
  end)
  assert.has_error(function()
    p:socket { name = "x", address = "127.0.0.1", port = 80, scheme = "http", services = {}, because = {}, colour = "red" }
  end)
end)

describe("long lists", function()
  local many, addresses = {}, {}
  for i = 1, 200 do
    addresses[i] = ("10.0.%d.%d"):format(i // 100, i % 100 + 1)
    many[i] = addresses[i]
  end
  many[50] = addresses[50] .. ":8081"
  many[51] = addresses[51] .. ":8081"
  local machine = fake.host(addresses)
  local function listed(list, more)
    local entries = { { "BindAddress", table.concat(list, ", ") }, { "Port", "8080" } }
    for _, e in ipairs(more or {}) do entries[#entries + 1] = e end
    return run(entries, machine)
  end

  it("are the sockets that short ones make, in a few entries", function()
    local p = listed(many, { { "Secure-" .. addresses[120], "" }, { "SecurePort", "8443" } })
    local want, one_by_one = {}, {}
    for i = 1, 200, 20 do -- the same list in pieces that are short enough to be opened one by one
      local piece = { table.unpack(many, i, i + 19) }
      for _, s in ipairs(fake.sockets((listed(piece, { { "Secure-" .. addresses[120], "" }, { "SecurePort", "8443" } })))) do
        want[#want + 1] = s
      end
    end
    for _, s in ipairs(p.sockets) do one_by_one[#one_by_one + 1] = s.name == "http" and (s.addresses and #s.addresses or 1) or nil end
    assert.same(sorted(want), sockets(p))
    assert.equal(200, #want)
    assert.is_true(#one_by_one <= 5)
  end)
  it("of nothing but addresses of this machine are taken as they are, others one by one", function()
    local function want(list, text)
      local out = {}
      for i, a in ipairs(list) do out[i] = text:format(a) end
      return sorted(out)
    end
    local own = listed(addresses)
    assert.equal(addresses[200], own.sockets[1].addresses[200])
    assert.is_nil(own.sockets[1].address)
    assert.same(want(addresses, "http://%s:8080"), sockets(own))
    local https = { { "SecureServer", "true" }, { "SecurePort", "8443" } }
    assert.same(want(addresses, "https://%s:8443 default"), sockets(listed(addresses, https)))
    local more = { "10.9.9.9", table.unpack(addresses) } -- not here: left to the kernel, like any other
    assert.same(want(more, "http://%s:8080"), sockets(listed(more)))
    local less = { table.unpack(addresses) }
    less[7], less[9] = addresses[8], addresses[8]
    assert.equal(198, #sockets(listed(less)))
    local one = listed(addresses, { { "SecureServer", addresses[5] }, { "SecurePort", "8443" } })
    local others = { table.unpack(addresses) }
    table.remove(others, 5)
    others = want(others, "http://%s:8080")
    others[#others + 1] = "https://" .. addresses[5] .. ":8443 default"
    assert.same(sorted(others), sockets(one))
  end)
  it("name an address that stands in them twice", function()
    local twice = { table.unpack(addresses) }
    twice[150] = addresses[3] .. ":8080"
    local p = listed(twice)
    assert.equal(199, #sockets(p))
    assert.is_truthy(p.warnings[1]:find("10.0.0.4 is listed twice with port 8080", 1, true))
  end)
end)
