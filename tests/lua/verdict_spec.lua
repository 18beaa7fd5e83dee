-- portreeve.verdict: what a rule may say, where words of the caller's are in it.
local verdict = require "portreeve.verdict"

describe("verdict.answer", function()
  it("cuts a text that is too long at a whole character, and does not fail", function() -- G15
    for n = 240, 262 do
      local text = verdict.answer(403, ("a"):rep(n) .. ("ü"):rep(40)).text
      assert.is_true(#text <= 255 and #text >= 252, n)
      assert.is_truthy(utf8.len(text), n)
      assert.equal("…", text:sub(-3))
    end
    assert.equal(("b"):rep(255), verdict.answer(403, ("b"):rep(255)).text)
    assert.is_string(verdict.answer(403, ("\xbf"):rep(400)).text)
  end)
  it("is strict about the rest", function()
    assert.has_error(function() verdict.answer(200, "x") end)
    assert.has_error(function() verdict.answer(403, {}) end)
    assert.has_error(function() verdict.answer("403", "x") end)
  end)
end)
