-- Makes a session the player's session, if it was opened last.
-- KEYS  1 the slot
-- ARGV  2 {player_id, record, age_us, policy, challenges, record_ms}
--       age_us: for how long the session has been open, if it was never claimed before; its time of opening is then
--         computed from the clock of Redis, so that the clocks of shards need not agree. -1 for other sessions
--       policy = "replace": the session that was opened before receives a notice "replaced"
--       policy = "refuse": a session that was never claimed is refused while there is another one, which receives a
--         notice "challenged" if `challenges`. Otherwise as "replace"
--       policy = "allow": the player may have several sessions. Presence has the one that was opened last
-- Result  {status, record (the record of the player after the call)}
--       status = "claimed": the player had no session, or this one
--       status = "taken_over": the player had another session, which was opened before
--       status = "refused": the player has another session
--       status = "superseded": the player has another session, which was opened later
--       status = "elsewhere": another shard has a newer copy of the session

local mine = request.record
local found = get_record(request.player_id)
local is_new = request.age_us >= 0
if is_new then
  mine[OPENED] = now_us - request.age_us
end

local function store(status)
  redis.call('SET', key('player', request.player_id), cmsgpack.pack(mine), 'PX', request.record_ms)
  return reply({status = status, record = mine})
end

if not found then
  return store('claimed')
end
if found[SESSION] == mine[SESSION] then
  if is_new then  -- the reply to an earlier call was lost
    mine[OPENED] = found[OPENED]
  end
  if found[SHARD] == mine[SHARD] or mine[GENERATION] >= found[GENERATION] then
    return store('claimed')
  end
  return reply({status = 'elsewhere', record = found})
end
if is_new and request.policy == 'refuse' then
  if request.challenges then
    push_notice(found[SHARD], 'challenged', request.player_id, found[SESSION], '', 0)
  end
  return reply({status = 'refused', record = found})
end
if is_new and found[OPENED] > now_us then  -- the clock of Redis was set back
  mine[OPENED] = found[OPENED] + 1
end
if not is_later(mine, found) then
  return reply({status = 'superseded', record = found})
end
if request.policy ~= 'allow' and found[SHARD] ~= mine[SHARD] then
  push_notice(found[SHARD], 'replaced', request.player_id, found[SESSION], mine[SHARD], 0)
end
return store('taken_over')
