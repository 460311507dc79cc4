-- What may be done to a row, whoever is connected. Made anew by every program whose rules differ from those it finds.

-- PostgreSQL reads no JSON with an escaped NUL in it; U+E0F0, which no vendor and no user means, stands in for it here.
CREATE OR REPLACE FUNCTION json_extract(document text, path text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT replace(replace(document, '\u0000', '\ue0f0')::json #>> string_to_array(substr(path, 3), '.'),
                 '\ue0f0', '\u0000')
$$;

CREATE OR REPLACE FUNCTION json_remove(document text, path text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT replace(coalesce(json_object_agg(key, value), '{}')::text, '\ue0f0', '\u0000')
  FROM json_each(replace(document, '\u0000', '\ue0f0')::json) WHERE key <> substr(path, 3)
$$;

CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$;

CREATE OR REPLACE TRIGGER event_is_a_fact BEFORE UPDATE ON event
FOR EACH ROW EXECUTE FUNCTION refuse('an event is never changed');
CREATE OR REPLACE TRIGGER event_stays BEFORE DELETE ON event
FOR EACH ROW EXECUTE FUNCTION refuse('an event is never deleted');
CREATE OR REPLACE TRIGGER events_stay BEFORE TRUNCATE ON event
FOR EACH STATEMENT EXECUTE FUNCTION refuse('an event is never deleted');
CREATE OR REPLACE TRIGGER items_stay BEFORE TRUNCATE ON item
FOR EACH STATEMENT EXECUTE FUNCTION refuse('illegal move: only an item that cost nothing can be withdrawn');

CREATE OR REPLACE TRIGGER item_begins_planned BEFORE INSERT ON item FOR EACH ROW WHEN (NEW.state <> 'planned')
EXECUTE FUNCTION refuse('illegal move: an item begins planned');
CREATE OR REPLACE TRIGGER clip_begins_wanted BEFORE INSERT ON clip FOR EACH ROW
WHEN (NEW.state <> 'wanted' OR NEW.copy <> 'none')
EXECUTE FUNCTION refuse('illegal move: a clip begins wanted, and without a copy');
CREATE OR REPLACE TRIGGER item_with_money_stays BEFORE DELETE ON item
FOR EACH ROW WHEN (OLD.state <> 'planned' OR OLD.committed_micro_usd <> 0)
EXECUTE FUNCTION refuse('illegal move: only an item that cost nothing can be withdrawn');

CREATE OR REPLACE FUNCTION item_moves_legally() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM move WHERE from_state = OLD.state AND event = NEW.event AND to_state = NEW.state) THEN
    RAISE EXCEPTION 'illegal move of an item' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER item_moves_legally BEFORE UPDATE OF state, event ON item
FOR EACH ROW EXECUTE FUNCTION item_moves_legally();

CREATE OR REPLACE FUNCTION clip_moves_legally() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM clip_move WHERE from_state = OLD.state AND event = NEW.event AND to_state = NEW.state) THEN
    RAISE EXCEPTION 'illegal move of a clip' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER clip_moves_legally BEFORE UPDATE OF state, event ON clip
FOR EACH ROW EXECUTE FUNCTION clip_moves_legally();

CREATE OR REPLACE FUNCTION copy_moves_legally() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM copy_move WHERE from_state = OLD.copy AND event = NEW.event AND to_state = NEW.copy) THEN
    RAISE EXCEPTION 'illegal move of a copy' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER copy_moves_legally BEFORE UPDATE OF copy, remote ON clip
FOR EACH ROW WHEN (OLD.copy <> NEW.copy OR OLD.remote <> NEW.remote) EXECUTE FUNCTION copy_moves_legally();

CREATE OR REPLACE FUNCTION money_follows_items() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE money SET committed_micro_usd = committed_micro_usd + NEW.committed_micro_usd
    - CASE TG_OP WHEN 'UPDATE' THEN OLD.committed_micro_usd ELSE 0 END;
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER money_of_new_item AFTER INSERT ON item FOR EACH ROW WHEN (NEW.committed_micro_usd <> 0)
EXECUTE FUNCTION money_follows_items();
CREATE OR REPLACE TRIGGER money_of_item AFTER UPDATE OF committed_micro_usd ON item
FOR EACH ROW WHEN (NEW.committed_micro_usd <> OLD.committed_micro_usd) EXECUTE FUNCTION money_follows_items();
