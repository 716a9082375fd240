-- Keeps a shard alive, renews the records of some of its sessions, and reads its notices.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, players (list of ids), policy (as in claim.lua), acknowledged, notices_max, alive_ms,
--         record_ms}
--       acknowledged: the number of the last notice that the shard has received; notices up to it are deleted
--       3 and following: the packed record of each player
-- Result  {was_alive (whether the shard was alive; if not, it must renew all of its sessions), restored (the number of
--       players without a record), elsewhere (list: the positions of the sessions of which
--       another shard has a newer copy), superseded (list: the positions of the players with a session that was opened
--       later), winners (list: the records of those), notices (list)}

local inbox = key('inbox', request.shard_id)
local own = key('shard', request.shard_id)
local was_alive = redis.call('EXISTS', own) == 1
redis.call('SET', own, '1', 'PX', request.alive_ms)
local restored, elsewhere, superseded, winners, notices = 0, {}, {}, {}, {}

-- Returns whether a copy of a session is newer than that of another shard.
local function is_newer_copy(mine, other)
  if mine[GENERATION] ~= other[GENERATION] then
    return mine[GENERATION] > other[GENERATION]
  end
  return mine[CONNECTED] and not other[CONNECTED]
end

-- Returns whether a record may replace the one that is stored.
local function may_replace(at, player, mine, found)
  if found[SESSION] == mine[SESSION] then
    if found[SHARD] == mine[SHARD] or is_newer_copy(mine, found) then
      return true
    end
    elsewhere[#elsewhere + 1] = at
    return false
  end
  if not is_later(mine, found) then
    superseded[#superseded + 1] = at
    winners[#winners + 1] = found
    return false
  end
  if request.policy ~= 'allow' and found[SHARD] ~= mine[SHARD] then
    push_notice(found[SHARD], 'replaced', player, found[SESSION], mine[SHARD], 0)
  end
  return true
end

for at, player in ipairs(request.players) do
  local name, packed = key('player', player), ARGV[at + 2]
  if redis.call('GET', name) == packed then
    redis.call('PEXPIRE', name, request.record_ms)
  else
    local found = get_record(player)
    restored = restored + (found and 0 or 1)
    if not found or may_replace(at, player, cmsgpack.unpack(packed), found) then
      redis.call('SET', name, packed, 'PX', request.record_ms)
    end
  end
end

if request.acknowledged > 0 then
  redis.call('ZREMRANGEBYSCORE', inbox, '-inf', string.format('%.0f', request.acknowledged))
end
for _, notice in ipairs(redis.call('ZRANGE', inbox, 0, request.notices_max - 1)) do
  notices[#notices + 1] = cmsgpack.unpack(notice)
end
return reply({
  was_alive = was_alive, restored = restored, elsewhere = elsewhere, superseded = superseded, winners = winners,
  notices = notices,
})
